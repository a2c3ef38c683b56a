"""Reading tags from every format; damaged tags are ignored."""

import os

import pytest
from support import soundfiles

from songprint.audio.naming import Pattern
from songprint.audio.tags import Rules, read_tags, tags_from_name
from songprint.types import Tags

RECORDING_ID = "7a1b2c3d-0000-4000-8000-0123456789ab"
RELEASE_ID = "11111111-2222-4333-8444-555555555555"
WORK_ID = "99999999-2222-4333-8444-555555555555"
WRITTEN = {
    "title": "Under Pressure",
    "artist": "Queen; David Bowie",
    "album": "Hot Space",
    "track": "11/11",
    "date": "1982-05-21",
    "ISRC": "gb-um7-11-00003",
    "MUSICBRAINZ_TRACKID": RECORDING_ID,
    "MUSICBRAINZ_ALBUMID": RELEASE_ID,
    "MUSICBRAINZ_WORKID": WORK_ID,
}
READ = Tags(
    title="Under Pressure",
    artists=("Queen", "David Bowie"),
    album="Hot Space",
    isrc="GBUM71100003",
    track=11,
    year=1982,
    musicbrainz_recording_id=RECORDING_ID,
    musicbrainz_release_id=RELEASE_ID,
    work=WORK_ID,
)


@pytest.fixture
def tagged(tmp_path):
    """A function that writes a short file with the given tags and reads them."""

    def write_and_read(tags, suffix=".flac", name="song"):
        samples = soundfiles.tone(duration=0.1, sample_rate=48000, channels=2)
        return read_tags(soundfiles.write(tmp_path / f"{name}{suffix}", samples, 48000, tags=tags))

    return write_and_read


@pytest.fixture
def id3(tmp_path):
    """A function that writes an MP3 file with ID3v2.4 frames, given as (id, content), and reads its tags."""

    def write_and_read(*frames):
        body = b"".join(name + sizes(len(content)) + b"\0\0" + content for name, content in frames)
        plain = soundfiles.write(tmp_path / "plain.mp3", soundfiles.tone(duration=0.1)).read_bytes()
        path = tmp_path / "song.mp3"
        path.write_bytes(b"ID3\4\0\0" + sizes(len(body)) + body + plain)
        return read_tags(path)

    def sizes(number):
        return bytes([number >> 7 * shift & 127 for shift in (3, 2, 1, 0)])

    return write_and_read


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".oga", ".opus", ".wv", ".mkv", ".webm"])
def test_all_tags_are_read(tagged, suffix):
    assert tagged(WRITTEN, suffix) == READ


@pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".wma", ".wav"])
def test_common_tags_are_read_from_formats_without_others(tagged, suffix):
    tags = tagged(WRITTEN, suffix)
    assert (tags.title, tags.artists, tags.album, tags.year) == (
        "Under Pressure", ("Queen", "David Bowie"), "Hot Space", 1982,
    )  # fmt: skip


def test_the_recording_id_is_read_from_an_id3_unique_file_identifier(id3):
    tags = id3((b"UFID", b"http://musicbrainz.org\0" + RECORDING_ID.encode()), (b"TIT2", b"\3Title"))
    assert (tags.musicbrainz_recording_id, tags.title) == (RECORDING_ID, "Title")


def test_unique_file_identifiers_of_other_owners_are_ignored(id3):
    assert id3((b"UFID", b"http://example.com\0" + RECORDING_ID.encode())).musicbrainz_recording_id == ""


def test_an_id3_frame_may_contain_several_artists(id3):
    assert id3((b"TPE1", b"\3Queen\0David Bowie\0")).artists == ("Queen", "David Bowie")


def test_separate_artists_are_preferred_to_joined_artists(id3):
    joined, separate = (b"TPE1", b"\3Queen & David Bowie"), (b"TXXX", b"\3ARTISTS\0Queen\0David Bowie")
    assert id3(joined, separate).artists == ("Queen", "David Bowie")


def test_a_missing_artist_is_replaced_by_the_album_artist(id3):
    assert id3((b"TPE2", b"\3Queen")).artists == ("Queen",)


@pytest.mark.parametrize(
    ("written", "isrc"),
    [
        ("USRC17607839", "USRC17607839"),
        ("us-rc1-76-07839", "USRC17607839"),
        ("n/a; USRC17607839", "USRC17607839"),
        ("none", ""),
        ("USRC1760783", ""),
    ],
)
def test_an_isrc_is_normalised_or_ignored(tagged, written, isrc):
    assert tagged({"ISRC": written}).isrc == isrc


@pytest.mark.parametrize(
    ("written", "year"),
    [("1998", 1998), ("1998-05-04", 1998), ("04.05.1998", 1998), ("19980504", 1998), ("0000", None)],
)
def test_the_year_is_read_from_a_date(tagged, written, year):
    assert tagged({"date": written}).year == year


@pytest.mark.parametrize(("written", "track"), [("3", 3), ("03/12", 3), ("0", None), ("A1", None)])
def test_the_track_is_a_positive_integer(tagged, written, track):
    assert tagged({"track": written}).track == track


def test_a_work_may_be_an_iswc(tagged):
    assert tagged({"ISWC": "T-034.524.680-1"}).work == "T0345246801"


def test_control_characters_are_replaced_and_long_texts_are_cut(tagged):
    tags = tagged({"title": "A\x07 little\r\n  song", "album": "x" * 100_000})
    assert tags.title == "A little song"
    assert len(tags.album) == 500


def test_latin1_bytes_in_a_utf8_format_are_accepted(tagged, tmp_path):
    tagged({"title": "Cafe XYZ"}, ".mkv")
    path = tmp_path / "song.mkv"
    path.write_bytes(path.read_bytes().replace(b"Cafe XYZ", b"Caf\xe9 XYZ"))
    assert read_tags(path).title.startswith("Caf")


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".m4a", ".wma", ".wav", ".mkv"])
def test_a_truncated_tag_is_ignored(tagged, tmp_path, suffix):
    tagged({"title": "Broken"}, suffix, name="Artist - Name")
    path = tmp_path / f"Artist - Name{suffix}"
    for size in (150, 100, 60, 30, 10):
        os.truncate(path, size)
        assert read_tags(path).title


@pytest.mark.parametrize("content", [b"", b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"fLaC\x04\xff\xff\xff", b"text"])
def test_without_tags_the_file_name_is_used(tmp_path, content):
    path = tmp_path / "03 - Nina Simone - Sinnerman.mp3"
    path.write_bytes(content)
    assert read_tags(path) == Tags(title="Sinnerman", artists=("Nina Simone",), track=3)


def test_the_file_name_of_a_missing_file_is_used():
    assert read_tags("gone/Sinnerman.flac") == Tags(title="Sinnerman")


def test_tags_take_precedence_over_the_file_name(tagged):
    assert tagged({"artist": "Tag"}, name="Name - Song") == Tags(title="Song", artists=("Tag",))
    assert tagged({"title": "Tag"}, name="Name - Song") == Tags(title="Tag")


@pytest.mark.parametrize(
    ("name", "track", "artists", "title"),
    [
        ("Sinnerman.flac", None, (), "Sinnerman"),
        ("Nina Simone - Sinnerman.ogg", None, ("Nina Simone",), "Sinnerman"),
        ("03 - Nina Simone - Sinnerman.mp3", 3, ("Nina Simone",), "Sinnerman"),
        ("03. Nina Simone - Sinnerman.mp3", 3, ("Nina Simone",), "Sinnerman"),
        ("1-03 - Sinnerman.mp3", 3, (), "Sinnerman"),
        ("Nina_Simone_-_Sinnerman.mp3", None, ("Nina Simone",), "Sinnerman"),
        ("Nina Simone – Sinnerman.mp3", None, ("Nina Simone",), "Sinnerman"),
        ("Nina Simone - Sinnerman - Live.mp3", None, ("Nina Simone",), "Sinnerman - Live"),
        ("99 Luftballons.mp3", None, (), "99 Luftballons"),
        ("Mr. Brightside.mp3", None, (), "Mr. Brightside"),
        ("Jay-Z - 99 Problems.mp3", None, ("Jay-Z",), "99 Problems"),
        ("七里香.mp3", None, (), "七里香"),
        ("03 Sinnerman.mp3", 3, (), "Sinnerman"),
        ("03-sinnerman.mp3", 3, (), "sinnerman"),
        ("1-03 Sinnerman.mp3", 3, (), "Sinnerman"),
        ("007 James.mp3", 7, (), "James"),
        ("03 Nina Simone - Sinnerman.mp3", 3, ("Nina Simone",), "Sinnerman"),
    ],
)
def test_artist_title_and_track_are_read_from_the_file_name(name, track, artists, title):
    assert tags_from_name(f"folder/{name}") == Tags(title=title, artists=artists, track=track)


@pytest.mark.parametrize(
    "name", ["nina simone+pastel blues+10-sinnerman", "nina_simone - pastel_blues - 10 - sinnerman"]
)
def test_names_with_artist_album_track_and_title_are_read_without_a_pattern(name):
    assert tags_from_name(f"{name}.mp3") == Tags("sinnerman", ("nina simone",), "pastel blues", track=10)


@pytest.fixture
def album(tmp_path):
    """A function that makes a folder with empty files, and returns the tags of the first one."""

    def read(folder, *names):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).touch()
        return read_tags(tmp_path / folder / names[0])

    return read


NUMBERED = ("12 Sinnerman.mp3", "02 Other.mp3", "03 Third.mp3")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("Music/Nina Simone/Pastel Blues", Tags("Sinnerman", ("Nina Simone",), "Pastel Blues", track=12)),
        ("音乐/Nina Simone/Pastel Blues (1965)", Tags("Sinnerman", ("Nina Simone",), "Pastel Blues", "", 12, 1965)),
        (
            "Music/Nina Simone/1965 - Pastel Blues/CD 1",
            Tags("Sinnerman", ("Nina Simone",), "Pastel Blues", "", 12, 1965),
        ),
        ("x/Nina Simone - Pastel Blues", Tags("Sinnerman", ("Nina Simone",), "Pastel Blues", track=12)),
        ("x/y/Pastel Blues", Tags("Sinnerman", (), "Pastel Blues", track=12)),
        ("x/Downloads", Tags("Sinnerman", track=12)),
        ("Music/Various Artists/Hits", Tags("Sinnerman", (), "Hits", track=12)),
        ("Music/2024/12", Tags("Sinnerman", track=12)),
    ],
)
def test_folders_name_artist_and_album_of_numbered_files_where_that_is_safe(album, folder, expected):
    assert album(folder, *NUMBERED) == expected


def test_folders_of_other_files_name_nothing(album):
    assert album("Music/Nina Simone/Mix", "12 Sinnerman.mp3", "Other.mp3") == Tags("12 Sinnerman")
    assert album("Music/Nina Simone/Notes", "12 Sinnerman.mp3", "02 b.txt", "03 c.txt") == Tags("12 Sinnerman")
    assert album("Music/Nina Simone/Songs", "Sinnerman.mp3", *NUMBERED) == Tags("Sinnerman")


def test_a_pattern_gives_what_tags_lack(tagged, tmp_path):
    tagged({"title": "Tagged"}, name="Nina Simone - Pastel Blues - Sinnerman")
    path = tmp_path / "Nina Simone - Pastel Blues - Sinnerman.flac"
    rules = Rules(pattern=Pattern("{artist} - {album} - {title}"))
    assert read_tags(path, rules=rules) == Tags("Tagged", ("Nina Simone",), "Pastel Blues")
    assert read_tags(path, rules=Rules(pattern=Pattern("{artist}+{title}"))) == Tags("Tagged")
    assert read_tags("A;B - C - D.mp3", rules=rules) == Tags("D", ("A", "B"), "C")
