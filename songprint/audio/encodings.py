"""Detect the encoding of text whose encoding is not known: tags that claim to be Latin-1, and names of files.

All texts of a file are decoded with each encoding. The one that gives the most probable text wins: each character
costs the bits that its probability in the language of the encoding is worth. The texts are a few words, so the scripts
and how frequent their characters are count more than sequences of characters.

Bytes of an unknown encoding are in text as the surrogates U+DC80 to U+DCFF, as in `os.fsdecode`.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from typing_extensions import Buffer

AUTO = "auto"
RAW = "songprint_raw"  # codec that keeps every byte that is not ASCII as a surrogate
_TRUNCATED_BYTES = 30  # length of a field of ID3v1, which may end within a character
_SAMPLE_FIELDS, _SAMPLE_BYTES = 30, 1000  # that are examined of one file; damaged tags may be long
_IMPOSSIBLE = 1e6  # bits
_INCOMPLETE = 25.0  # bits; of a last character that is cut off, where no field of ID3v1 ends
_NO_LATIN_WORD = 6.0  # bits; of letters of two scripts in one word
_LOOKALIKE_WORD = 12.0  # bits; of Latin and Cyrillic letters in one word
_NEIGHBOURS = 2.0  # bits; of Latin and Cyrillic words side by side
_IN_FILE_NAME = 3.0  # bits; of a character that is also in the name of the file
_UTF8_CHARACTERS = 3  # so many characters of UTF-8 do not occur by chance


def is_raw(text: str) -> bool:
    """Whether text contains bytes of an unknown encoding."""
    surrogates = [letter for letter in text if "\ud800" <= letter <= "\udfff"]
    return bool(surrogates) and all("\udc80" <= letter <= "\udcff" for letter in surrogates)


def is_utf8(texts: Iterable[str]) -> bool:
    """Whether texts contain bytes of an unknown encoding, and these are UTF-8 in all of them."""
    raw = [text.encode("utf-8", "surrogateescape") for text in texts if is_raw(text)]
    return bool(raw) and all(_strictly(field, "utf-8") is not None for field in raw)


def decoded(texts: Iterable[str], preferred: str = AUTO, hint: str = "") -> list[str]:
    """Decode the texts of one file, which contain bytes of one unknown encoding as surrogates.

    `preferred` is an encoding that is used wherever it can decode all texts, unless they are UTF-8. `hint` is text
    that probably contains the same characters, such as the path of the file. Texts without surrogates are returned
    unchanged.
    """
    given = list(texts)
    raw = {text: text.encode("utf-8", "surrogateescape") for text in given if is_raw(text)}
    if not raw:
        return given
    sample = [field[:_SAMPLE_BYTES] for field in list(raw.values())[:_SAMPLE_FIELDS]]
    encoding = detect(sample, preferred, hint)
    return [_text(raw[text], encoding) if text in raw else text for text in given]


def detect(fields: Iterable[bytes], preferred: str = AUTO, hint: str = "") -> str:
    """Return the name of the encoding in which these fields of one file are most probably written.

    >>> detect(["Кино".encode("cp1251"), "Группа крови".encode("cp1251")])
    'cp1251'
    """
    present = [field for field in fields if not field.isascii()]
    utf8 = [_strictly(field, "utf-8") for field in present]
    if all(text is not None for text in utf8):
        letters = [letter for text in utf8 for letter in text or "" if not letter.isascii()]
        if len(letters) >= _UTF8_CHARACTERS or any(letter > "\u07ff" for letter in letters):
            return "utf-8"
    if preferred != AUTO and all(_cost(field, preferred, _any, "") < _IMPOSSIBLE for field in present):
        return preferred
    costs = {
        candidate.encoding: candidate.prior
        + sum(_cost(field, candidate.encoding, candidate.cost, hint) for field in present)
        for candidate in _CANDIDATES
    }
    return min(costs, key=lambda encoding: costs[encoding])


def _text(field: bytes, encoding: str) -> str:
    """Decode a field, without a last character that is cut off. Bytes that the encoding lacks become Latin-1."""
    text = _strictly(field, encoding)
    if text is not None:
        return text
    if encoding in _SINGLE_BYTE:
        return "".join(bytes([byte]).decode(encoding, "replace").replace("\ufffd", chr(byte)) for byte in field)
    return codecs.getincrementaldecoder(encoding)("replace").decode(field)


def _strictly(field: bytes, encoding: str) -> str | None:
    """Decode a field, without a last character that is cut off in a field of ID3v1; None if that is impossible."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(field, final=len(field) != _TRUNCATED_BYTES)
    except UnicodeDecodeError:
        return None


def _cost(field: bytes, encoding: str, cost: Callable[[str], float], hint: str) -> float:
    """The bits that a field costs in this encoding."""
    text, total = _strictly(field, encoding), 0.0
    if text is None:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(field)
            total += _INCOMPLETE
        except UnicodeDecodeError:
            if encoding not in _SINGLE_BYTE:
                return _IMPOSSIBLE
            text = _text(field, encoding)
    before, last_script = " ", ""
    for letter in text:
        script = _script(letter)
        bits = _ascii(letter) if letter.isascii() else cost(letter)
        if bits < _IMPOSSIBLE and not letter.isascii() and letter in hint:
            bits -= _IN_FILE_NAME
        total += bits + _context(letter, script, before, _script(before), last_script)
        before, last_script = letter, script or last_script
    return total


def _context(letter: str, script: str, before: str, script_before: str, last_script: str) -> float:
    """The bits that a character costs more after the one before it, or after the last letter in a text."""
    bits = 0.0
    pair = {script, script_before}
    if script and script_before and script != script_before and pair not in _MIXED:
        bits += _LOOKALIKE_WORD if pair == {"latin", "cyrillic"} else _NO_LATIN_WORD
    elif script and last_script and {script, last_script} == {"latin", "cyrillic"}:
        bits += _NEIGHBOURS
    if letter.isupper() and before.islower():
        bits += 2.0 if letter.isascii() else 8.0  # "DeBarge" exists
    if script == "latin" and script_before == "latin" and not letter.isascii() and not before.isascii():
        bits += 4.0
    return bits


# Scripts that occur in one word.
_MIXED: tuple[set[str], ...] = ({"han", "kana"}, {"han", "hangul"})


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """The script of a letter; empty for other characters."""
    if letter.isascii():
        return "latin" if letter.isalpha() else ""
    code = ord(letter)
    if 0x4E00 <= code < 0xA000 or 0x3400 <= code < 0x4DC0 or 0xF900 <= code < 0xFB00 or code >= 0x20000:
        return "han"
    if 0x3041 <= code < 0x3100 or 0xFF66 <= code < 0xFFA0:
        return "kana"
    if 0xAC00 <= code < 0xD7A4 or 0x3131 <= code < 0x318F:
        return "hangul"
    if 0x400 <= code < 0x530:
        return "cyrillic"
    if letter.isalpha() and "LATIN" in unicodedata.name(letter, "") and code < 0xFF00:
        return "latin"
    return ""


@lru_cache(maxsize=256)
def _ascii(letter: str) -> float:
    if letter.isalpha():
        return 5.0
    return 3.0 if letter == " " else 6.5 if letter.isprintable() else _IMPOSSIBLE if letter not in "\t\n\r\0" else 8.0


def _unusual(letter: str) -> float:
    """The bits of a character that is no letter of the language: of a symbol, or of another alphabet."""
    category = unicodedata.category(letter)
    if category in ("Co", "Cn", "Cs", "Cc"):
        return _IMPOSSIBLE
    if letter in _PUNCTUATION:
        return 11.0
    code = ord(letter)
    if 0xFF01 <= code < 0xFF5F or letter == "\u3000":
        return 12.0
    return 18.0 if category[0] != "L" else 22.0


def _lead(letter: str, encoding: str) -> int:
    """The first byte of a character in an encoding, which is ordered by frequency; 0 if it lacks it."""
    try:
        return letter.encode(encoding)[0]
    except UnicodeEncodeError:
        return 0


def _any(letter: str) -> float:
    return _IMPOSSIBLE if unicodedata.category(letter) in ("Co", "Cn", "Cs", "Cc") else 8.0


@lru_cache(maxsize=4096)
def _chinese(letter: str, frequent: str, encoding: str, level_1: tuple[int, int]) -> float:
    if _script(letter) != "han":
        return _unusual(letter) + (-4.0 if _script(letter) == "kana" else 0.0)
    rank = frequent.find(letter)
    if rank >= 0:
        return 8.0 if rank < 100 else 10.5
    lead = _lead(letter, encoding)
    return 14.0 if level_1[0] <= lead <= level_1[1] else 17.5 if lead else 21.0


def _simplified(letter: str) -> float:
    return _chinese(letter, _SIMPLIFIED, "gb2312", (0xB0, 0xD7))


def _traditional(letter: str) -> float:
    return _chinese(letter, _TRADITIONAL, "big5", (0xA4, 0xC6))


@lru_cache(maxsize=4096)
def _japanese(letter: str) -> float:
    if "\u3041" <= letter <= "\u3096":
        return 7.0
    if "\u30a1" <= letter <= "\u30fc":
        return 7.5
    if "\uff61" <= letter <= "\uff9f":
        return 13.0  # of half width
    if _script(letter) != "han":
        return _unusual(letter)
    if letter in _KANJI:
        return 10.5
    lead = _lead(letter, "euc_jp")
    return 13.5 if 0xB0 <= lead <= 0xCF else 17.0 if lead else 21.0


@lru_cache(maxsize=4096)
def _korean(letter: str) -> float:
    if "\uac00" <= letter <= "\ud7a3":
        return 8.5 if letter in _HANGUL else 14.5 if _lead(letter, "euc_kr") else 24.0
    return 18.0 if _script(letter) == "han" else _unusual(letter)


@lru_cache(maxsize=256)
def _russian(letter: str) -> float:
    if "а" <= letter.lower() <= "я":
        return 4.2 if letter.lower() in "оеаинтсрвл" else 6.0
    if _script(letter) == "cyrillic":
        return 8.0 if letter in "ёЁіІїЇєЄ" else 12.0
    return 11.0 if letter in _PUNCTUATION else 13.0 if letter.isprintable() and not letter.isalpha() else 22.0


@lru_cache(maxsize=4096)
def _western(letter: str) -> float:
    if _script(letter) == "latin" and letter not in "ªºˆƒ":
        if letter.lower() in "éèêëáàâäãåæçíîïñóòôöøúùüß":
            return 8.5
        return 11.0 if letter <= "\u00ff" or letter in "ŒœŠšŽžŸ" else 14.0 if letter <= "\u017f" else 18.0
    return 9.0 if letter in "’‘“”–—…´¡¿" else 12.0 if letter in _PUNCTUATION else 14.0 if letter <= "\u00ff" else 18.0


@lru_cache(maxsize=4096)
def _universal(letter: str) -> float:
    """The bits in UTF-8, which is used for all languages."""
    return min(cost(letter) for cost in (_western, _simplified, _traditional, _japanese, _korean, _russian))


@dataclass(frozen=True)
class _Candidate:
    encoding: str
    cost: Callable[[str], float]  # bits of a character that is not ASCII
    prior: float  # bits; rare encodings need more evidence


_PUNCTUATION = frozenset("’‘“”«»–—…·•°©®™№¡¿、。〈〉《》「」『』【】・～！？（）：，ー々〜♪★☆♡")
_SINGLE_BYTE = frozenset({"cp1251", "cp1252"})

# The 700 most frequent characters in the dictionary of jieba 0.42 (MIT), most frequent first.
_SIMPLIFIED = (
    "一是人了不在有大中国和为这上他个地年来我会以到时要出的生学说道民家子也成行下们于后就发自之对得主长可"
    "过天作分方用多你着部能市等业全里工公经本都而高政法面门动日进区事代那去心小同北定开产前其军还然起种所"
    "如现理机体表力好外与文当两实重新三么只山水关明从化平建又制南内西没此将员名手最东头者月间无安看见各城"
    "十相但已些正口通想度加第她合院物性战由位常点海意场武使次二向治因立数样身情入原问把路被并利石老教万知"
    "级量任江及应省资委务元美特期世湖回系比气汉总展电科金先声提品设或义王社很统处四首共马形己儿司太目基领"
    "队直计别女权话少流命至报米给打变果书清活几州华解议更称程今决张导术府才保交放管结师便走达族反再题色五"
    "京河接条规式县白它改风光运信受什组听布百济党指论强做取技黄神选记斯真却职号界件花类何眼兵传带空干农边"
    "据集联古广完质阳难增历史专官每住商即步认车台林必死游举线言皇土团收考求德叫近备研争非具李众连调感转笑"
    "革该持始英克士尔让拉思根格造较际亲单朝红型价校约器字段周亚深候则功属积快图火千准究往极育装许参半令吃"
    "观鱼精办像帝八复影告远群包整构料随划算象容示投势热值夫网望源息语股铁断派速怎需片爱律纪支早况病境证编"
    "越局推满且列觉服双未居除乐企引标确织初青志率项飞球节察龙响药站施均消客失轻存低甚般击曾防请离落显罗营"
    "足素视护副食创余照兴占巴虽洲村费易试星木黑左宝置跟央识维采六底宫房音环案批切斗富乡另倒若按查故突责严"
    "桥模仅胜杀围席态破承招杨负层须父供续状域似依银范修找九致密终血旅钱赛独细效玉冲获习医演毛尽脸弹楼艺航"
    "陆右协七攻镇检写苏宗章注阿抗弟坐验封紧劳户优财养适陈喜卫排射哥油刻留急降念云微伤例景拿绝阶座刘刚害印"
)
# The same characters as they are written in Taiwan and Hong Kong.
_TRADITIONAL = (
    "一是人了不在有大中國和爲這上他個地年來我會以到時要出的生學說道民家子也成行下們於後就發自之對得主長可"
    "過天作分方用多你着部能市等業全裏工公經本都而高政法面門動日進區事代那去心小同北定開產前其軍還然起種所"
    "如現理機體表力好外與文當兩實重新三麼只山水關明從化平建又制南內西沒此將員名手最東頭者月間無安看見各城"
    "十相但已些正口通想度加第她合院物性戰由位常點海意場武使次二向治因立數樣身情入原問把路被並利石老教萬知"
    "級量任江及應省資委務元美特期世湖回系比氣漢總展電科金先聲提品設或義王社很統處四首共馬形己兒司太目基領"
    "隊直計別女權話少流命至報米給打變果書清活幾州華解議更稱程今決張導術府才保交放管結師便走達族反再題色五"
    "京河接條規式縣白它改風光運信受什組聽布百濟黨指論強做取技黃神選記斯真卻職號界件花類何眼兵傳帶空幹農邊"
    "據集聯古廣完質陽難增歷史專官每住商即步認車臺林必死遊舉線言皇土團收考求德叫近備研爭非具李衆連調感轉笑"
    "革該持始英克士爾讓拉思根格造較際親單朝紅型價校約器字段周亞深候則功屬積快圖火千準究往極育裝許參半令喫"
    "觀魚精辦像帝八復影告遠羣包整構料隨劃算象容示投勢熱值夫網望源息語股鐵斷派速怎需片愛律紀支早況病境證編"
    "越局推滿且列覺服雙未居除樂企引標確織初青志率項飛球節察龍響藥站施均消客失輕存低甚般擊曾防請離落顯羅營"
    "足素視護副食創餘照興佔巴雖洲村費易試星木黑左寶置跟央識維採六底宮房音環案批切鬥富鄉另倒若按查故突責嚴"
    "橋模僅勝殺圍席態破承招楊負層須父供續狀域似依銀範修找九致密終血旅錢賽獨細效玉衝獲習醫演毛盡臉彈樓藝航"
    "陸右協七攻鎮檢寫蘇宗章注阿抗弟坐驗封緊勞戶優財養適陳喜衛排射哥油刻留急降念雲微傷例景拿絕階座劉剛害印"
    "裡群吃眾台著"
)
# The characters that Japanese schools teach in the first four years.
_KANJI = frozenset(
    "一右雨円王音下火花貝学気九休玉金空月犬見五口校左三山子四糸字耳七車手十出女小上森人水正生青夕石赤千川"
    "先早草足村大男竹中虫町天田土二日入年白八百文木本名目立力林六引羽雲園遠何科夏家歌画回会海絵外角楽活間"
    "丸岩顔汽記帰弓牛魚京強教近兄形計元言原戸古午後語工公広交光考行高黄合谷国黒今才細作算止市矢姉思紙寺自"
    "時室社弱首秋週春書少場色食心新親図数西声星晴切雪船線前組走多太体台地池知茶昼長鳥朝直通弟店点電刀冬当"
    "東答頭同道読内南肉馬売買麦半番父風分聞米歩母方北毎妹万明鳴毛門夜野友用曜来里理話悪安暗医委意育員院飲"
    "運泳駅央横屋温化荷界開階寒感漢館岸起期客究急級宮球去橋業曲局銀区苦具君係軽血決研県庫湖向幸港号根祭皿"
    "仕死使始指歯詩次事持式実写者主守取酒受州拾終習集住重宿所暑助昭消商章勝乗植申身神真深進世整昔全相送想"
    "息速族他打対待代第題炭短談着注柱丁帳調追定庭笛鉄転都度投豆島湯登等動童農波配倍箱畑発反坂板皮悲美鼻筆"
    "氷表秒病品負部服福物平返勉放味命面問役薬由油有遊予羊洋葉陽様落流旅両緑礼列練路和愛案以衣位茨印英栄媛"
    "塩岡億加果貨課芽賀改械害街各覚潟完官管関観願岐希季旗器機議求泣給挙漁共協鏡競極熊訓軍郡群径景芸欠結建"
    "健験固功好香候康佐差菜最埼材崎昨札刷察参産散残氏司試児治滋辞鹿失借種周祝順初松笑唱焼照城縄臣信井成省"
    "清静席積折節説浅戦選然争倉巣束側続卒孫帯隊達単置仲沖兆低底的典伝徒努灯働特徳栃奈梨熱念敗梅博阪飯飛必"
    "票標不夫付府阜富副兵別辺変便包法望牧末満未民無約勇要養浴利陸良料量輪類令冷例連老労録"
)
# Frequent Korean syllables.
_HANGUL = frozenset(
    "이다는에의가고을하한지도로기사리어은를나서인그자대있시아스들일과수만부라해정보제전면장조원주내세마소"
    "구여게오우거것동안상요선미비유무신모성연생국공방위식화간단현민당문치분관물바발반개니러까때말않없됐했"
    "던데중심번강경계교저적학실양진행용회음악랑노래너눈늘밤별빛길꿈날봄람겨울름친혼처트드르레크타파카토프"
    "코포페티터테디더두란난님남녀김박최송임윤백류배달될되된할함합네예외왜와워월영명형평병령결년변편련천청"
    "체초추출충취칠태택통투특팀팔품필항향허험혁호홍활황후흥희히힘집직질짓작잔잡재점접종죽준즐증벌범법벗벽"
    "복본볼북불붉빈빠뿐쁜색석설속손술숨쉬습승싶쓰씨앉알앞야약얼업엄엔열옥온올옷완욕욱운웃육율으응읽잃입잊"
    "잎밖밝및믿밀량력렇록론료루른린림립막많맞매맨먹먼멀멋며목못몸묻묘뭐머걸검겁격견곡곳군권귀규균극근글금"
    "급긴꽃꼭끝낮낸냐넌널넘넣녕녹논놀높놓누느늦닐닥담답댄덕독돌돈둘뒤득든듯등딸따떠또뜨략럼"
)

_CANDIDATES: Sequence[_Candidate] = (
    _Candidate("cp1252", _western, 0.0),
    _Candidate("utf-8", _universal, 0.0),
    _Candidate("gb18030", _simplified, 4.0),
    _Candidate("cp932", _japanese, 4.0),
    _Candidate("cp1251", _russian, 4.0),
    _Candidate("big5hkscs", _traditional, 5.0),
    _Candidate("cp949", _korean, 5.0),
    _Candidate("euc_jp", _japanese, 7.0),
)


def _decode_raw(content: Buffer, errors: str = "strict") -> tuple[str, int]:
    return bytes(content).decode("ascii", "surrogateescape"), len(bytes(content))


def _encode_raw(text: str, errors: str = "strict") -> tuple[bytes, int]:
    return text.encode("ascii", "surrogateescape"), len(text)


def _raw_codec(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(_encode_raw, _decode_raw, name=RAW) if name == RAW else None


codecs.register(_raw_codec)
