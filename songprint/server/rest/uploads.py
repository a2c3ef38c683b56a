"""Uploads: request bodies streamed to disk as they arrive, and refused as soon as they are too large.

A file is either the whole body, or one part of a form (multipart/form-data) with text fields.
"""

from __future__ import annotations

import errno
import logging
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool

from songprint.jobs.inputs import safe_name
from songprint.server.rest.problems import DISK_FULL, Problem

BUFFER_BYTES = 1 << 20  # gathered in memory before they are written
MOST_FIELD_BYTES = 1 << 16  # of all text fields of a form together
MOST_PARTS = 100  # of a form
MOST_HEADER_BYTES = 1 << 13  # of the headers of one part
MOST_EPILOGUE_BYTES = 1 << 10  # after the end of a form
ABANDONED = 24 * 3600.0  # seconds after which an upload must be left over from a process that died

logger = logging.getLogger(__name__)
# It logs a warning for each malformed byte sequence, so clients could fill the log. `_read_form` logs one line.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass
class Upload:
    """A received file in a folder of its own, and the other fields of the form."""

    path: Path | None = None  # None: no file was sent
    name: str = ""  # the client's file name, made safe
    size: int = 0  # bytes
    fields: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """The last value of a field; None if the form does not contain it."""
        return self.fields[name][-1] if self.fields.get(name) else None


class Uploads:
    """A folder that contains one folder for each upload, so that files keep their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def receive(self, request: Request, most: int) -> Upload:
        """Stream the request's file to disk. The caller must `discard` the upload or move its file.

        Raises Problem if the file has more than `most` bytes, the form is malformed or the disk is full.
        """
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        upload = Upload()
        file = _File(self.folder, upload, most)
        try:
            if kind == b"multipart/form-data":
                await _read_form(request, options.get(b"boundary", b""), upload, file)
            else:
                file.open(unquote(request.headers.get("x-file-name", "")))
                async for chunk in request.stream():
                    await file.write(chunk)
            await run_in_threadpool(file.close)
        except BaseException as error:
            file.abandon()
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Problem(507, "disk_full", DISK_FULL) from error
            raise
        return upload

    @contextmanager
    def discarding(self, upload: Upload) -> Iterator[Upload]:
        """Delete the upload's file at the end, unless it was moved."""
        try:
            yield upload
        finally:
            self.discard(upload)

    def discard(self, upload: Upload) -> None:
        if upload.path is not None:
            self.remove(upload.path)

    def remove(self, path: Path) -> None:
        """Delete a file and its folder, if they still exist here."""
        if path.parent.parent == self.folder:
            shutil.rmtree(path.parent, ignore_errors=True)

    def tidy(self) -> None:
        """Delete uploads that processes left behind when they died."""
        for folder in self.folder.iterdir():
            if folder.is_dir() and time.time() - folder.stat().st_mtime > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)


def too_large(most: int) -> Problem:
    return Problem(
        413,
        "too_large",
        f"The file may have at most {most / 1e6:,.0f} MB. Send a short query to /v1/identify, or a long recording to"
        " /v1/jobs",
    )


class _File:
    """A file that is written while it arrives."""

    def __init__(self, folder: Path, upload: Upload, most: int) -> None:
        self._folder, self._upload, self._most = folder, upload, most
        self._own_folder: Path | None = None
        self._file: BinaryIO | None = None
        self._buffer = bytearray()

    def open(self, name: str) -> None:
        if self._upload.path is not None:
            raise Problem(400, "several_files", "A request may contain one file. Send the others separately")
        self._own_folder = self._folder / secrets.token_hex(12)
        self._own_folder.mkdir()
        self._upload.name = safe_name(name)
        self._upload.path = self._own_folder / self._upload.name
        self._file = self._upload.path.open("wb")

    async def write(self, chunk: bytes) -> None:
        self.hold(chunk)
        if len(self._buffer) >= BUFFER_BYTES:
            await run_in_threadpool(self.flush)

    def hold(self, chunk: bytes) -> None:
        """Take a chunk into memory; Problem 413 if the file becomes too large."""
        self._upload.size += len(chunk)
        if self._upload.size > self._most:
            raise too_large(self._most)
        self._buffer += chunk

    def flush(self) -> None:
        if self._file is not None and self._buffer:
            self._file.write(self._buffer)
        self._buffer = bytearray()

    def close(self) -> None:
        if self._file is not None:
            self.flush()
            self._file.close()

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)


class _Form:
    """Callbacks of the form parser: text fields go to the upload, the file's data to the file."""

    def __init__(self, upload: Upload, file: _File) -> None:
        self.upload, self.file = upload, file
        self.ended = False
        self._parts = self._field_bytes = 0
        self._header_name = self._header_value = b""
        self._header_bytes = 0
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._text = bytearray()

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Problem(400, "bad_form", f"A form may have at most {MOST_PARTS} fields")
        self._disposition, self._text = b"", bytearray()
        self._header_bytes = 0

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MOST_HEADER_BYTES:
            raise Problem(400, "bad_form", f"The headers of a part may have at most {MOST_HEADER_BYTES} bytes")

    def on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise Problem(400, "bad_form", "Every part of a form needs a name, as in curl -F file=@query.mp3")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._is_file = b"filename" in options
        if self._is_file:
            self.file.open(options[b"filename"].decode("utf-8", "replace"))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.file.hold(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > MOST_FIELD_BYTES:
            raise Problem(
                413,
                "too_large",
                f"The text fields of a form may have at most {MOST_FIELD_BYTES} bytes together."
                " Send audio as a file: -F file=@query.mp3",
            )
        self._text += data[start:end]

    def on_part_end(self) -> None:
        if not self._is_file:
            self.upload.fields.setdefault(self._name, []).append(self._text.decode("utf-8", "replace"))

    def on_end(self) -> None:
        self.ended = True


async def _read_form(request: Request, boundary: bytes, upload: Upload, file: _File) -> None:
    form = _Form(upload, file)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_part_end": form.on_part_end,
                "on_end": form.on_end,
            },
        )
        epilogue = 0
        async for chunk in request.stream():
            if form.ended:
                epilogue += len(chunk)
                if epilogue > MOST_EPILOGUE_BYTES:
                    raise Problem(400, "bad_form", "The body continues after the end of the form")
                continue
            parser.write(chunk)
            await file.write(b"")
        parser.finalize()
        if not form.ended:
            raise FormParserError("it has no end")
    except Problem as problem:
        logger.debug("rejected form: %s", problem)
        raise
    except (FormParserError, ValueError) as error:
        logger.debug("malformed form: %s", error)
        raise _bad_form() from error


def _bad_form() -> Problem:
    return Problem(
        400,
        "bad_form",
        "The body is not the form that its Content-Type announces. Let the client library write both, as in"
        " curl -F file=@query.mp3",
    )
