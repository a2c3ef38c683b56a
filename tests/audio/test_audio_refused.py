"""What is no audio, or cannot be read, is refused in one clear line."""

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
    """Loading the file fails with one line that names it and says why."""
    with pytest.raises(AudioError, match=match) as caught:
        files.load(path, SAMPLE_RATE)
    assert str(caught.value).startswith(f"cannot read {path}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path):
    fails(tmp_path / "gone.mp3", "there is no such file")


def test_a_folder_is_said(tmp_path):
    fails(tmp_path, "it is a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(song):
    song.chmod(0)
    fails(song, "permission denied")


def test_denied_permission_is_said_to_root_too(song, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    fails(song, "permission denied. May this user read it?")


def test_a_name_with_a_nul_is_said():
    fails("so\0ng.mp3", "null byte")


def test_an_empty_file_is_said(write_bytes):
    fails(write_bytes("empty.mp3", b""), r"it is empty \(0 bytes\). Is the download complete\?")


def test_text_is_said(write_bytes):
    page = write_bytes("page.mp3", b"<html><body>Please log in</body></html>\n" * 300)
    fails(page, "it is text, not audio")


@pytest.mark.parametrize("name", ["noise.wav", "noise.flac", "noise"])
def test_garbage_is_said(write_bytes, name):
    garbage = write_bytes(name, np.random.default_rng(3).bytes(20000))
    fails(garbage, r"(does not know its format|no audio stream|nothing in it could be decoded).* complete\?")


def test_a_film_without_sound_is_said(tmp_path):
    film = soundfiles.write_silent_film(tmp_path / "silent.mp4")
    fails(film, r"no audio stream \(only video\)")


def test_an_mp4_without_its_index_is_said(tmp_path):
    path = soundfiles.write(tmp_path / "half.m4a", soundfiles.tone(duration=3))
    os.truncate(path, path.stat().st_size // 2)
    fails(path, r'no audio stream \(ffmpeg: "moov atom not found"\)\. Is the download complete\?')


def test_a_header_without_samples_is_said(tmp_path):
    fails(soundfiles.write_float_wav(tmp_path / "none.wav", np.zeros(0)), "its audio stream has no samples")


def test_more_channels_than_can_be_mixed_are_said(tmp_path):
    with wave.open(str(tmp_path / "array.wav"), "wb") as file:
        file.setnchannels(32)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(64 * 8000))
    fails(tmp_path / "array.wav", "32 channels cannot be mixed")


@pytest.mark.parametrize("url", ["http://localhost/song.mp3", "file:///etc/passwd", "concat://a.mp3"])
def test_a_url_is_never_opened(url):
    fails(url, "a URL is not opened here. Download it and give the file")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsong.ts\n#EXT-X-ENDLIST\n",
    "m3u": "\ufeff#EXTM3U\nsong.ts\n",
    "concat": "ffconcat version 1.0\nfile song.ts\n",
    "pls": "[playlist]\nFile1=song.ts\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "list.mp3"])
def test_a_playlist_is_refused_whatever_its_name(write_bytes, kind, name):
    fails(write_bytes(name, PLAYLISTS[kind].encode()), "it is a playlist. Give the files that it names")


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_ffmpeg_itself_follows_no_playlist(tmp_path, write_bytes, kind, monkeypatch):
    soundfiles.write(tmp_path / "song.ts", soundfiles.tone())
    playlist = write_bytes("list.m3u8", PLAYLISTS[kind].encode())
    with playlist.open("rb") as file, av.open(file) as container:
        assert container.streams.audio  # FFmpeg would, if it were let
    monkeypatch.setattr(files, "_looked_at", lambda file, name: False)
    fails(playlist, "FFmpeg does not know its format")
