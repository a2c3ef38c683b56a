"""The errors that Songprint raises on purpose. Each message states what happened, with the value, and what to do.

SongprintError
├── ApiError                a server responded with an error, or not at all
├── AudioError              a file or stream cannot be read as audio
├── EncoderError            a model file is missing, damaged or not the expected one
├── FetchError              an input cannot be fetched, or a callback cannot be sent
├── JobError                a job cannot be submitted, found or changed
│   ├── DuplicateSession        a job with this session id exists
│   ├── JobNotFound             no job has this id
│   ├── JobStateError           the job is in a state that does not allow the change
│   └── QueueFull               the queue has reached its limit
├── KeyRefused              an API key is unknown, revoked or may not be created
├── LibraryError            the library cannot be opened or written
│   ├── LibraryConflict         the request conflicts with what the library contains
│   ├── LibraryNotFound         there is no library at this path
│   ├── LibraryVersionError     the library needs another version of Songprint or another encoder
│   │   └── EncoderChanged          its files have to be encoded again
│   └── LibraryFull             the disk is full
├── MetadataError           a tag, a user field or a table of them has an invalid value
├── MissingExtra            an optional dependency is not installed
├── RecordingNotFound       no recording has this id
├── SettingsError           a setting has an invalid value
├── StationError            a station cannot be created or changed
│   └── StationNotFound         no station has this id
├── StreamError             a stream cannot be opened, is not audio or has broken
└── UnknownMusicNotFound    no unknown music has this id, or its audio no longer exists
"""


class SongprintError(Exception):
    """Base class of all errors that Songprint raises on purpose."""


class ApiError(SongprintError):
    """A server responded with an error, or did not respond; raised by `songprint.client`.

    Attributes:
        status: HTTP status of the response; 0 if there was none, or if a job failed.
        code: a word for programs, such as `not_found`; see the REST API.
    """

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class AudioError(SongprintError):
    """A file or stream cannot be read as audio."""


class AudioTooLong(AudioError):
    """The audio is longer than the server accepts for this request."""


class EncoderError(SongprintError):
    """A model file is missing, damaged or not the expected one."""


class FetchError(SongprintError):
    """An input cannot be fetched, or a callback cannot be sent.

    Attributes:
        code: one of input_refused, input_not_found, input_too_large, input_unreadable, input_timeout, cancelled,
            internal.
        retry: True if another attempt may succeed.
    """

    def __init__(self, message: str, code: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry


class JobError(SongprintError):
    """A job cannot be submitted, found or changed."""


class DuplicateSession(JobError):
    """A job with this session id was submitted recently; `job_id` is the id of that job."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFound(JobError):
    """No job has this id."""


class JobStateError(JobError):
    """The job is in a state that does not allow the change, for example cancelling a finished job."""


class QueueFull(JobError):
    """The queue contains as many waiting jobs as the settings allow."""


class KeyRefused(SongprintError):
    """An API key is unknown or revoked, or a new key would have more rights than its parent."""


class LibraryError(SongprintError):
    """The library cannot be opened or written."""


class LibraryConflict(LibraryError):
    """The request conflicts with what the library contains.

    Clients of the service see this message, so it must not contain paths, addresses or messages of other software.
    """


class LibraryNotFound(LibraryError):
    """There is no library at this path."""


class LibraryVersionError(LibraryError):
    """The library was made by another version of Songprint or with another encoder."""


class EncoderChanged(LibraryVersionError):
    """The library was made with another encoder; `songprint rebuild --reencode` encodes its files again."""


class LibraryFull(LibraryError):
    """The disk that stores the library is full."""


class MetadataError(SongprintError):
    """A tag, a user field, or a row of a table of metadata has an invalid value."""


class MissingExtra(SongprintError):
    """An optional dependency is not installed; the message contains the `pip install` command."""


class RecordingNotFound(SongprintError):
    """No recording has this id."""


class SettingsError(SongprintError):
    """A setting has an invalid value."""


class StationError(SongprintError):
    """A station cannot be created or changed."""


class StationNotFound(StationError):
    """No station has this id."""


class StreamError(SongprintError):
    """A stream cannot be opened, is not audio, or has broken."""


class UnknownMusicNotFound(SongprintError):
    """No unknown music has this id, or none of the files that contain it exists any more."""
