"""Tags and file names of unknown encoding, written as ID3v1, as Latin-1 frames of ID3v2.3, and in other formats."""

from __future__ import annotations

import os
import unicodedata

import pytest
from support import soundfiles

from songprint.audio import encodings
from songprint.audio.tags import Rules, read_tags

# Encoding, artist, album, title. The detector was adjusted on other names than these.
WRITTEN = [
    ("gb18030", "罗大佑", "光阴的故事", "鹿港小镇"),
    ("gb18030", "田震", "震撼", "执著"),
    ("gb18030", "李宇春", "皇后与梦想", "下个路口见"),
    ("gb18030", "老狼", "恋恋风尘", "同桌的你"),
    ("gb18030", "Twins", "女校男生", "下一站天后"),
    ("gbk", "陶喆", "黑色柳丁", "找自己"),
    ("gbk", "李玟", "", "月光爱人"),
    ("big5", "張雨生", "天天想你", "大海"),
    ("big5", "周華健", "朋友", "朋友"),
    ("big5", "蕭亞軒", "紅薔薇", "最熟悉的陌生人"),
    ("big5", "黃家駒", "遙遠的Paradise", "光輝歲月"),
    ("cp932", "松任谷由実", "日本の恋と、ユーミンと。", "守ってあげたい"),
    ("cp932", "Mr.Children", "深海", "名もなき詩"),
    ("cp932", "レベッカ", "REBECCA IV", "フレンズ"),
    ("cp932", "吉田拓郎", "元気です。", "旅の宿"),
    ("euc_jp", "安室奈美恵", "SWEET 19 BLUES", "世界中の誰よりきっと"),
    ("euc_jp", "一青窈", "月天心", "もらい泣き"),
    ("euc_jp", "小田和正", "自己ベスト", "ラブ・ストーリーは突然に"),
    ("euc_kr", "들국화", "행진", "그것만이 내 세상"),
    ("euc_kr", "이승환", "Human", "천일동안"),
    ("euc_kr", "산울림", "아니 벌써", "내 마음에 주단을 깔고"),
    ("cp1251", "Машина времени", "В добрый час", "Поворот"),
    ("cp1251", "Агата Кристи", "Опиум", "Сказочная тайга"),
    ("cp1251", "Валентина Толкунова", "", "Стою на полустаночке"),
    ("cp1251", "Океан Ельзи", "Модель", "Сосни"),
    ("cp1252", "Björk", "Homogenic", "Jóga"),
    ("cp1252", "Sigur Rós", "Ágætis byrjun", "Svefn-g-englar"),
    ("cp1252", "Mötley Crüe", "Dr. Feelgood", "Kickstart My Heart"),
    ("cp1252", "Charles Aznavour", "La Bohème", "Hier encore"),
    ("cp1252", "Café Tacvba", "Re", "Esa noche"),
    ("cp1252", "Georges Brassens", "", "L’Auvergnat"),
    ("cp1252", "Los Suaves", "", "¡Bip!"),
    ("utf-8", "张震岳", "", "爱我别走"),
    ("utf-8", "Dvořák", "", "Rusalka"),
    ("utf-8", "Beyoncé", "", "Halo"),
    ("utf-8", "Łona", "", "Rozmowy"),
    ("utf-8", "Queensrÿche", "Empire", "Silent Lucidity"),
    ("utf-8", "Алиса", "Шабаш", "Всё это рок-н-ролл"),
]


def id3v1(encoding, artist, album, title):
    """The tag, whose fields are cut at 30 bytes, within a character if need be."""
    fields = (text.encode(encoding)[:30].ljust(30, b"\0") for text in (title, artist, album))
    return b"TAG" + b"".join(fields) + b"1999" + bytes(30) + b"\xff"


def id3v2(encoding, artist, album, title, *, kind=0):
    """Version 2.3. Of frames of kind 0, which declare Latin-1."""

    def size(content, bits):
        return bytes(len(content) >> bits * shift & (1 << bits) - 1 for shift in (3, 2, 1, 0))

    frames = b""
    for name, text in ((b"TPE1", artist), (b"TALB", album), (b"TIT2", title)):
        if text:
            content = bytes([kind]) + text.encode(encoding)
            frames += name + size(content, 8) + b"\0\0" + content
    return b"ID3\3\0\0" + size(frames, 7) + frames


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a short MP3 file without tags."""
    path = tmp_path_factory.mktemp("sound") / "plain.mp3"
    return soundfiles.write(path, soundfiles.tone(duration=0.1)).read_bytes()


@pytest.fixture
def read(tmp_path, sound):
    """A function that writes an MP3 file and returns its artist, album and title."""

    def write_and_read(*, before=b"", after=b"", name=b"a.mp3", rules=None):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "wb") as file:
            file.write(before + sound + after)
        tags = read_tags(os.fsdecode(path), rules=rules)
        return ";".join(tags.artists), tags.album, tags.title

    return write_and_read


def test_the_table_has_nine_encodings():
    assert len(WRITTEN) >= 24 and len({encoding for encoding, *_ in WRITTEN}) == 9


@pytest.mark.parametrize(("encoding", "artist", "album", "title"), WRITTEN)
def test_id3v2_frames_that_claim_latin1_are_decoded(read, encoding, artist, album, title):
    assert read(before=id3v2(encoding, artist, album, title)) == (artist, album, title)


@pytest.mark.parametrize(("encoding", "artist", "album", "title"), WRITTEN)
def test_id3v1_fields_are_decoded(read, encoding, artist, album, title):
    def cut(text):
        return text.encode(encoding)[:30].decode(encoding, "ignore").strip()

    assert read(after=id3v1(encoding, artist, album, title)) == (cut(artist), cut(album), cut(title))


def with_chunk(path, tag):
    """Write a short WAV or AIFF file with tags in an ID3 chunk, which is the last one."""
    data = soundfiles.write(path, soundfiles.tone(duration=0.1)).read_bytes()
    order, name = ("big", b"ID3 ") if path.suffix == ".aiff" else ("little", b"id3 ")
    chunk = name + len(tag).to_bytes(4, order) + tag + bytes(len(tag) % 2)
    size = len(data) - 8 + len(chunk)
    path.write_bytes(data[:4] + size.to_bytes(4, order) + data[8:] + chunk)
    return path


@pytest.mark.parametrize("suffix", [".wav", ".aiff"])
@pytest.mark.parametrize(("encoding", "artist", "album", "title"), WRITTEN)
def test_id3_chunks_that_claim_latin1_are_decoded(tmp_path, suffix, encoding, artist, album, title):
    tags = read_tags(with_chunk(tmp_path / f"a{suffix}", id3v2(encoding, artist, album, title)))
    assert (";".join(tags.artists), tags.album, tags.title) == (artist, album, title)


@pytest.mark.parametrize("suffix", [".wav", ".aiff"])
def test_id3_chunks_in_unicode_or_damaged_are_not_decoded_again(tmp_path, suffix):
    mojibake = ("Ã©tude", "ÖÜ½ÜÂ×", "Êîëåñî")
    tags = read_tags(with_chunk(tmp_path / f"a{suffix}", id3v2("utf-16", *mojibake, kind=1)))
    assert (tags.artists, tags.album, tags.title) == (mojibake[:1], *mojibake[1:])
    tag = id3v2("gb18030", *WRITTEN[0][1:])
    for damaged in (b"", b"ID3", tag[: len(tag) // 2], bytes(range(256))):
        assert read_tags(with_chunk(tmp_path / f"b{suffix}", damaged)).title


def test_frames_in_unicode_are_never_decoded_again(read):
    mojibake = ("Ã©tude", "ÖÜ½ÜÂ×", "Êîëåñî")  # UTF-8, GBK and CP1251, read as Latin-1
    assert read(before=id3v2("utf-16", *mojibake, kind=1)) == mojibake
    assert read(before=id3v2("utf-8", *mojibake, kind=3)) == mojibake


def test_the_preferred_encoding_is_used_where_it_can_decode_a_file(read):
    czech = ("Dvořák", "", "Čert a Káča")  # each of its bytes is a letter in CP1252 as well
    assert read(before=id3v2("cp1250", *czech), rules=Rules(encoding="cp1250")) == czech
    assert read(before=id3v2("utf-8", *czech), rules=Rules(encoding="cp1250")) == czech
    russian = ("Кино", "", "Спокойная ночь")
    assert read(before=id3v2("cp1251", *russian), rules=Rules(encoding="shift_jis_2004")) == russian


def test_the_name_of_a_file_helps_with_its_tags(read):
    artist = "刀郎"  # alone it might be Korean
    tag = id3v2("gb18030", artist, "", artist)
    assert read(before=tag)[0] != artist
    assert read(before=tag, name="刀郎 - 2002年的第一场雪.mp3".encode())[0] == artist


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
def test_names_of_files_are_decoded(read, encoding):
    assert read(name="老狼 - 同桌的你.mp3".encode(encoding)) == ("老狼", "", "同桌的你")


def test_a_name_and_tags_may_have_different_encodings(read):
    tag = id3v2("utf-8", "老狼", "恋恋风尘", "")
    assert read(before=tag, name="同桌的你.mp3".encode("gb18030")) == ("老狼", "恋恋风尘", "同桌的你")


@pytest.mark.parametrize("suffix", [".flac", ".mkv", ".wav"])
def test_fields_that_should_be_utf8_are_decoded(tmp_path, suffix):
    samples = soundfiles.tone(duration=0.1)
    path = soundfiles.write(tmp_path / f"song{suffix}", samples, tags={"title": "XXXXXXXX", "artist": "YYYY"})
    written = path.read_bytes().replace(b"XXXXXXXX", "同桌的你".encode("gb18030"))
    path.write_bytes(written.replace(b"YYYY", "老狼".encode("gb18030")))
    tags = read_tags(path)
    assert (tags.title, tags.artists) == ("同桌的你", ("老狼",))


def test_accents_are_composed(read):
    decomposed = unicodedata.normalize("NFD", "Jóga")
    assert read(before=id3v2("utf-8", "Björk", "", decomposed, kind=3))[2] == "Jóga"


@pytest.mark.parametrize("content", [b"\x81", b"\xff\xfe\x00", bytes(range(128, 256)), b"a\xa0" * 500, b"\x80\x80"])
def test_any_bytes_give_some_text(content):
    [text] = encodings.decoded([content.decode("ascii", "surrogateescape")])
    assert not encodings.is_raw(text)
