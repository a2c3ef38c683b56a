"""Files that cannot be read or contain no audio fail with a message of one line."""

import os
import wave

import av
import numpy as np
import pytest
from support import soundfiles

from songprint.audio import files
from songprint.errors import AudioError

SAMPLE_RATE = 16000


def fails(path, match):
    """Check that loading the file fails, with a message of one line that contains its path and the reason."""
    with pytest.raises(AudioError, match=match) as caught:
        files.load(path, SAMPLE_RATE)
    assert str(caught.value).startswith(f"cannot read {path}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    fails(tmp_path / "gone.mp3", "there is no such file")


def test_a_folder_is_an_error(tmp_path):
    fails(tmp_path, "it is a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_an_error(song):
    song.chmod(0)
    fails(song, "permission denied")


def test_denied_permission_is_an_error_for_root_too(song, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    fails(song, "permission denied. Check the permissions of the file")


def test_a_path_with_a_null_byte_is_an_error():
    fails("so\0ng.mp3", "null byte")


def test_an_empty_file_is_an_error(write_bytes):
    fails(write_bytes("empty.mp3", b""), r"it is empty \(0 bytes\). Is the download complete\?")


def test_a_text_file_is_an_error(write_bytes):
    page = write_bytes("page.mp3", b"<html><body>Please log in</body></html>\n" * 300)
    fails(page, "it is text, not audio")


@pytest.mark.parametrize("name", ["noise.wav", "noise.flac", "noise"])
def test_random_bytes_are_an_error(write_bytes, name):
    garbage = write_bytes(name, np.random.default_rng(3).bytes(20000))
    fails(garbage, r"(does not recognise its format|no audio stream|none of its audio could be decoded).* complete\?")


def test_a_video_without_audio_is_an_error(tmp_path):
    film = soundfiles.write_silent_film(tmp_path / "silent.mp4")
    fails(film, r"no audio stream \(only video\)")


def test_an_mp4_without_an_index_is_an_error(tmp_path):
    path = soundfiles.write(tmp_path / "half.m4a", soundfiles.tone(duration=3))
    os.truncate(path, path.stat().st_size // 2)
    fails(path, r'no audio stream \(ffmpeg: "moov atom not found"\)\. Is the download complete\?')


def test_a_file_without_samples_is_an_error(tmp_path):
    fails(soundfiles.write_float_wav(tmp_path / "none.wav", np.zeros(0)), "its audio stream has no samples")


def test_more_channels_than_ffmpeg_can_mix_are_an_error(tmp_path):
    with wave.open(str(tmp_path / "array.wav"), "wb") as file:
        file.setnchannels(32)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(64 * 8000))
    fails(tmp_path / "array.wav", "32 channels cannot be mixed")


@pytest.mark.parametrize("url", ["http://localhost/song.mp3", "file:///etc/passwd", "concat://a.mp3"])
def test_urls_are_rejected(url):
    fails(url, "URLs are not supported. Download the file first")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsong.ts\n#EXT-X-ENDLIST\n",
    "m3u": "\ufeff#EXTM3U\nsong.ts\n",
    "concat": "ffconcat version 1.0\nfile song.ts\n",
    "pls": "[playlist]\nFile1=song.ts\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "list.mp3"])
def test_playlists_are_rejected_for_any_file_name(write_bytes, kind, name):
    fails(write_bytes(name, PLAYLISTS[kind].encode()), "it is a playlist. Pass the files that it names")


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_ffmpeg_opens_no_files_that_a_playlist_contains(tmp_path, write_bytes, kind, monkeypatch):
    soundfiles.write(tmp_path / "song.ts", soundfiles.tone())
    playlist = write_bytes("list.m3u8", PLAYLISTS[kind].encode())
    with playlist.open("rb") as file, av.open(file) as container:
        assert container.streams.audio  # without restrictions, FFmpeg opens the file in the playlist
    monkeypatch.setattr(files, "_check_content", lambda file, name: False)
    fails(playlist, "FFmpeg does not recognise its format")
