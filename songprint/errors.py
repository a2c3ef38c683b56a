"""What can go wrong, as one tree. Every message says what happened and what to do.

SongprintError
├── AudioError          a file that cannot be read as audio
├── EncoderError        a model that is missing, damaged or not the one expected
├── FetchError          an input that cannot be fetched, or a callback not be sent
├── JobError            a job that cannot be had or changed as wished
│   ├── DuplicateSession    a job with this session id was submitted already
│   ├── JobNotFound         no job with that id
│   ├── JobStateError       it has ended, or has not
│   └── QueueFull           too many jobs wait
├── KeyRefused          a key that is not known (any more), or may not be made so
├── LibraryError        a library that cannot be opened or written
│   ├── LibraryNotFound     nothing there (only `add` makes a library)
│   ├── LibraryVersionError made by another version, or with another encoder
│   └── LibraryFull         the disk is full
├── StreamError         a web radio or pipe that cannot be opened, or has broken
├── MissingExtra        a part of Songprint that is installed on demand
├── RecordingNotFound   no recording with that id
├── UnknownMusicNotFound    no unknown music of that number, or its sound is gone
└── SettingsError       a setting with a value that makes no sense
"""


class SongprintError(Exception):
    """Root of all errors that Songprint raises on purpose."""


class AudioError(SongprintError):
    """The file or stream cannot be read as audio."""


class EncoderError(SongprintError):
    """A model file is missing, damaged, or not the one that was asked for."""


class FetchError(SongprintError):
    """An input cannot be fetched, or a callback not be sent.

    `code` is one of input_refused, input_not_found, input_too_large, input_unreadable, input_timeout, cancelled,
    internal; `retry` tells whether it may be otherwise in a minute.
    """

    def __init__(self, message: str, code: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry


class JobError(SongprintError):
    """A job cannot be had or changed as wished."""


class DuplicateSession(JobError):
    """A job with this session id was submitted a short while ago; `job_id` tells which."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFound(JobError):
    """No job has this id."""


class JobStateError(JobError):
    """The job has ended already, or has not yet."""


class QueueFull(JobError):
    """As many jobs wait as may."""


class KeyRefused(SongprintError):
    """A key is not known, or not any more; or one is to be made with rights that it cannot have."""


class LibraryError(SongprintError):
    """The library cannot be opened or written."""


class LibraryNotFound(LibraryError):
    """There is no library at this place."""


class LibraryVersionError(LibraryError):
    """The library was made by another version of Songprint or with another encoder."""


class LibraryFull(LibraryError):
    """The disk that holds the library is full."""


class StreamError(SongprintError):
    """A stream cannot be opened, is no sound, or has broken."""


class MissingExtra(SongprintError):
    """A library that only some need is not installed."""


class RecordingNotFound(SongprintError):
    """No recording has this id."""


class UnknownMusicNotFound(SongprintError):
    """No unknown music has this number, or the files in which it was heard are gone."""


class SettingsError(SongprintError):
    """A setting has a value that makes no sense."""
