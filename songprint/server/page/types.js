// The shapes of the JSON that the server sends, for the type checker. Browsers never load this module.

/** @typedef {"recording" | "cover"} Kind */
/** @typedef {"waiting" | "running" | "finished" | "failed" | "cancelled"} JobState */
/** @typedef {{ start: number, end: number }} Interval Seconds. */

/**
 * @typedef {object} Recording
 * @property {number} id
 * @property {string} title
 * @property {string[]} artists
 * @property {string} album
 * @property {string} isrc
 * @property {number | null} track
 * @property {number | null} year
 * @property {string} work
 * @property {number} duration Seconds.
 * @property {string} added_at
 * @property {string} missing_since
 * @property {Record<string, string | number | boolean>} fields Of the user.
 */

/**
 * @typedef {object} Match
 * @property {Recording} recording
 * @property {Recording | null} original
 * @property {Kind} kind
 * @property {number} confidence From 0 to 100.
 * @property {Interval} query
 * @property {Interval} reference
 * @property {number} speed Ratio to the reference.
 * @property {number} key_shift Semitones.
 * @property {number} [track] Number of the audio track, in a file with several.
 * @property {string} [channel] Channels that contain it, if the mono mix does not.
 * @property {number[]} [alternatives] Ids of other recordings in the library that are the same one.
 */

/**
 * The result of identifying a query.
 *
 * @typedef {object} Report
 * @property {number} duration Seconds.
 * @property {Match[]} matches
 * @property {Match[]} [candidates]
 * @property {number} searched Number of recordings that were compared.
 * @property {string} reason Why there is no match; empty if there is one.
 * @property {string[]} warnings
 */

/**
 * @typedef {object} Segment
 * @property {number} start Seconds.
 * @property {number} end Seconds.
 * @property {Kind} kind
 * @property {Recording} recording
 * @property {Recording | null} original
 * @property {number} confidence From 0 to 100.
 * @property {number} reference_start Seconds.
 * @property {number} reference_end Seconds.
 * @property {number} speed
 * @property {number} key_shift
 * @property {number} [track] Number of the audio track, in a file with several.
 * @property {string} [channel] Channels that contain it, if the mono mix does not.
 */

/**
 * @typedef {object} Gap
 * @property {number} start Seconds.
 * @property {number} end Seconds.
 * @property {"music" | "speech" | "silence" | "other"} sound
 * @property {number | null} unknown Number of the unknown music; null if it has none.
 */

/**
 * @typedef {object} Timeline
 * @property {number} duration Seconds.
 * @property {boolean} complete
 * @property {string[]} warnings
 * @property {Segment[]} segments
 * @property {Gap[]} gaps
 * @property {{ share: number }[]} songs
 */

/**
 * @typedef {object} Verdict
 * @property {"segment" | "gap"} part
 * @property {number} position
 * @property {"accept" | "reject" | "correct"} verdict
 * @property {number | null} recording_id
 * @property {string} at
 */

/** @typedef {{ type: string, url?: string, object?: string, name?: string, path?: string, bucket?: string }} JobInput */

/**
 * @typedef {object} Job
 * @property {string} id
 * @property {JobState} state
 * @property {JobInput} input
 * @property {number} progress From 0 to 1.
 * @property {string} created_at
 * @property {number} attempts
 * @property {number} seconds Duration of the input.
 * @property {{ code: string, message: string } | null} error
 * @property {Timeline | null} result
 * @property {Timeline | null} [partial] The segments that a running job has found so far.
 * @property {Verdict[]} verdicts
 */

/**
 * @typedef {object} Attempt
 * @property {string} at
 * @property {number} elapsed Seconds.
 * @property {number | null} status
 * @property {string | null} error
 */

/**
 * @typedef {object} Delivery
 * @property {string} job_id
 * @property {string} url
 * @property {"waiting" | "sending" | "delivered" | "given up"} state
 * @property {string | null} due_at
 * @property {Attempt[]} attempts
 */

/**
 * @typedef {object} Key
 * @property {string} id
 * @property {string} name
 * @property {string} scope
 * @property {string | null} parent
 * @property {number | null} rate Requests per second.
 * @property {string} created_at
 * @property {string | null} revoked_at
 */

/** @typedef {Key & { secret_key: string, token: string }} NewKey */
/** @typedef {{ at: string, key_id: string, action: string, subject: string, actor: string }} AuditEntry */
/** @typedef {{ day: string, key: string, jobs: number, queries: number, minutes: number }} UsageRow */

/**
 * Loudness over time, from 0 to 1, in equal steps from `start` to `end`.
 *
 * @typedef {{ start: number, end: number, peaks: number[] }} Peaks
 */

/**
 * Similarity of a segment and a recording.
 *
 * @typedef {object} SimilarityPicture
 * @property {Interval} query
 * @property {Interval} reference
 * @property {number} width
 * @property {number} height
 * @property {string} pixels Bytes in base64, one row after the other; the first row is the start of the recording.
 * @property {[number, number][][]} path Aligned times, as lines of (query, reference) points.
 * @property {number} key_shift
 * @property {number} speed
 */

/**
 * What a view receives.
 *
 * @typedef {object} ViewContext
 * @property {string[]} path The address after the view's name.
 * @property {URLSearchParams} query
 * @property {AbortSignal} signal Aborts when the view is left.
 * @property {() => Promise<void>} refresh Loads the session and the view again.
 */

/**
 * The parts of an OpenAPI schema that the explorer uses.
 *
 * @typedef {object} Schema
 * @property {string} [$ref]
 * @property {string} [type]
 * @property {string} [format]
 * @property {string} [description]
 * @property {unknown} [default]
 * @property {unknown} [const]
 * @property {unknown[]} [examples]
 * @property {unknown[]} [enum]
 * @property {Schema[]} [anyOf]
 * @property {Schema[]} [oneOf]
 * @property {Schema} [items]
 * @property {Record<string, Schema>} [properties]
 * @property {string[]} [required]
 */

/** @typedef {Record<string, { schema?: Schema }>} Content Media type to schema. */
/** @typedef {{ name: string, in: string, required?: boolean, description?: string, schema?: Schema }} Parameter */

/**
 * @typedef {object} OpenApiOperation
 * @property {string} [summary]
 * @property {string} [description]
 * @property {string[]} [tags]
 * @property {Parameter[]} [parameters]
 * @property {{ content?: Content }} [requestBody]
 * @property {Record<string, { description?: string, content?: Content }>} responses
 */

/**
 * @typedef {object} OpenApi
 * @property {Record<string, Record<string, OpenApiOperation>>} paths
 */

export {};
