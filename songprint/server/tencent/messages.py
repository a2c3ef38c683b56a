"""The messages of errors in Chinese, for clients that send `X-TC-Language: zh-CN` as Tencent's SDKs do by default.

The English message is written where an error is raised, and is the key of the table. A test checks that the table has
every message of the package, with the same placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

CHINESE_CODE = "zh-CN"

UNAVAILABLE = "The server cannot do this at the moment. Try again later; its operator finds the cause in the log."
INTERNAL_ERROR = "An internal error occurred. The server's log has the details."

CHINESE = {
    INTERNAL_ERROR: "发生内部错误，详情见服务器日志。",
    UNAVAILABLE: "服务暂时不可用，请稍后重试。",
    "{detail}.": "请求被拒绝：{detail}。",
    # Transport and signatures
    "The method must be GET or POST.": "请求方法必须是 GET 或 POST。",
    "The request is larger than {most} bytes.": "请求超过 {most} 字节。",
    "The body of the request did not arrive in time.": "请求正文未在规定时间内到达。",
    "The body of the request is not valid JSON.": "请求正文不是有效的 JSON。",
    "The body of the request must be a JSON object.": "请求正文必须是 JSON 对象。",
    "The parameters of the request cannot be parsed.": "无法解析请求参数。",
    "The request is missing a required parameter: the header `{name}`.": "请求缺少必需参数：请求头 `{name}`。",
    "The request is missing a required parameter: the header `Authorization`.": (
        "请求缺少必需参数：请求头 `Authorization`。"
    ),
    "The request is missing a required parameter: `{name}`.": "请求缺少必需参数：`{name}`。",
    "The header `Authorization` must be `{algorithm} Credential=SecretId/date/service/tc3_request, "
    "SignedHeaders=content-type;host, Signature=...`.": (
        "请求头 `Authorization` 必须为 `{algorithm} Credential=SecretId/date/service/tc3_request, "
        "SignedHeaders=content-type;host, Signature=...`。"
    ),
    "`SignatureMethod` must be HmacSHA1 or HmacSHA256.": "`SignatureMethod` 必须是 HmacSHA1 或 HmacSHA256。",
    "The SecretId is malformed.": "SecretId 格式错误。",
    "The SecretId is unknown or was revoked.": "SecretId 不存在或已被吊销。",
    "The timestamp must be UNIX time in whole seconds.": "时间戳必须是以秒为单位的 UNIX 时间整数。",
    "The timestamp {timestamp} differs from this server's clock ({now}) by more than {skew:g} seconds. Check the "
    "client's clock.": "时间戳 {timestamp} 与服务器时间（{now}）相差超过 {skew:g} 秒，请检查客户端时钟。",
    "The signature does not match this request. Check the SecretKey, and that the endpoint is one of this server's "
    "names.": "签名与请求不符，请检查 SecretKey，并确认接入地址是本服务器的名称之一。",
    "Temporary credentials are not supported: send no token.": "不支持临时密钥，请勿发送 Token。",
    "The key does not have the required scope.": "密钥没有所需的权限。",
    "The key may send {rate:g} requests per second.": "该密钥每秒最多可发送 {rate:g} 个请求。",
    "`{action}` may be called {rate:g} times per second.": "`{action}` 每秒最多可调用 {rate:g} 次。",
    "Too many requests with a wrong key.": "使用错误密钥的请求过多。",
    # Actions
    "There is no version `{version}` of this API. The version is {known}.": (
        "此接口没有版本 `{version}`，当前版本为 {known}。"
    ),
    "There is no action `{action}`.": "不存在接口 `{action}`。",
    "`{name}` is not supported: this server only identifies music.": "不支持 `{name}`：本服务器只识别音乐。",
    "There is no task with this TaskId.": "不存在该 TaskId 的任务。",
    "`Status` must be WAITING, PROCESSING or FINISH.": "`Status` 必须是 WAITING、PROCESSING 或 FINISH。",
    "`ScrollToken` must be one that DescribeTasks returned.": "`ScrollToken` 必须是 DescribeTasks 返回的值。",
    "`OperationType` must be Abort.": "`OperationType` 必须是 Abort。",
    "Only a waiting task can be aborted.": "只能终止等待中的任务。",
    "`Content` must be the JSON of a notification.": "`Content` 必须是事件通知的 JSON。",
    "`Content` has no `EventType`.": "`Content` 中没有 `EventType`。",
    "Too many files are being probed. Try again in a moment.": "正在探测的文件过多，请稍后重试。",
    "The input cannot be fetched: {reason}.": "无法获取输入文件：{reason}。",
    "The input is not readable audio or video.": "输入文件不是可读取的音频或视频。",
    "The input cannot be probed now: {reason}.": "目前无法探测输入文件，请稍后重试。",
    "`EndTime` must lie 0 to {days} days after `StartTime`.": "`EndTime` 必须在 `StartTime` 之后 0 至 {days} 天内。",
    "`{name}` is out of range.": "`{name}` 超出范围。",
    "`{name}` must be a time such as 2025-06-13T12:08:18Z.": "`{name}` 必须是时间，例如 2025-06-13T12:08:18Z。",
    # Parameters
    "The parameter `{parameter}` is unknown.": "未知参数 `{parameter}`。",
    "The parameter `{parameter}` must be text.": "参数 `{parameter}` 必须是字符串。",
    "The parameter `{parameter}` may have at most {longest} characters.": "参数 `{parameter}` 最多 {longest} 个字符。",
    "The parameter `{parameter}` must be a whole number.": "参数 `{parameter}` 必须是整数。",
    "The parameter `{parameter}` must lie between {least} and {most}.": (
        "参数 `{parameter}` 必须在 {least} 和 {most} 之间。"
    ),
    "The parameter `{parameter}` must be true or false.": "参数 `{parameter}` 必须是 true 或 false。",
    "The parameter `{parameter}` must be an object.": "参数 `{parameter}` 必须是对象。",
    "The parameter `{parameter}` must be a list.": "参数 `{parameter}` 必须是数组。",
    "The parameter `{parameter}` may have at most {most} items.": "参数 `{parameter}` 最多 {most} 项。",
    "The parameter `{parameter}` is both an object and a value.": "参数 `{parameter}` 既是对象又是值。",
    "A parameter of the request has too many parts.": "请求中某个参数的层级过多。",
    # ProcessMedia
    "The request contains no task: send `AiAnalysisTask`.": "请求不包含任务，请发送 `AiAnalysisTask`。",
    "`process_type` must be {process_type} (music identification).": (
        "`process_type` 必须是 {process_type}（音乐识别）。"
    ),
    "`AiAnalysisTask.ExtendedParameter` must be a string of JSON such as {example}.": (
        "`AiAnalysisTask.ExtendedParameter` 必须是 JSON 字符串，例如 {example}。"
    ),
    "There is no template {definition}. The template of music identification is {preset}.": (
        "不存在模板 {definition}，音乐识别模板为 {preset}。"
    ),
    "The template {definition} does not identify music: its `TagConfigure.Switch` is OFF.": (
        "模板 {definition} 不识别音乐：其 `TagConfigure.Switch` 为 OFF。"
    ),
    "A task with this SessionId was created less than three days ago.": "三天内已存在使用该 SessionId 的任务。",
    "Too many tasks are waiting. Try again later.": "等待中的任务过多，请稍后重试。",
    "`InputInfo.Type` must be URL, COS or AWS-S3.": "`InputInfo.Type` 必须是 URL、COS 或 AWS-S3。",
    "`OutputStorage.Type` must be COS or AWS-S3.": "`OutputStorage.Type` 必须是 COS 或 AWS-S3。",
    "VOD inputs are not supported: send URL, COS or AWS-S3.": "不支持 VOD 输入，请使用 URL、COS 或 AWS-S3。",
    "VOD outputs are not supported: send COS or AWS-S3.": "不支持 VOD 输出，请使用 COS 或 AWS-S3。",
    "The name of the bucket is malformed.": "存储桶名称格式错误。",
    "None of this server's object stores has this bucket.": "本服务器的对象存储中没有该存储桶。",
    "`OutputDir` must begin and end with a slash.": "`OutputDir` 必须以斜杠开头和结尾。",
    "`OutputDir` is not a valid folder name.": "`OutputDir` 不是有效的目录名。",
    "`TaskNotifyConfig.NotifyType` must be URL.": "`TaskNotifyConfig.NotifyType` 必须是 URL。",
    "`TaskNotifyConfig.NotifyMode` must be Finish or Change.": (
        "`TaskNotifyConfig.NotifyMode` 必须是 Finish 或 Change。"
    ),
    "Notifications by {kind} are not supported: send NotifyType URL.": (
        "不支持 {kind} 方式的通知，请使用 NotifyType URL。"
    ),
    "`TaskType` must be Online or Offline.": "`TaskType` 必须是 Online 或 Offline。",
    "{reason}.": "{reason}。",
    # Templates
    "`Type` must be Preset or Custom.": "`Type` 必须是 Preset 或 Custom。",
    "There is no such template.": "模板不存在。",
    "The preset template cannot be changed.": "不能修改预设模板。",
    "The preset template cannot be deleted.": "不能删除预设模板。",
    "`{parameter}` must be ON or OFF.": "`{parameter}` 必须是 ON 或 OFF。",
    "The key has {most} templates, which is the maximum.": "该密钥已有 {most} 个模板，达到上限。",
}

# Why a URL or the name of an object is refused: the reasons that `songprint.outside` gives. {} stands for a value.
REASONS = {
    "the URL is refused: it is empty": "该 URL 为空",
    "the URL is refused: it is longer than {} characters": "该 URL 超过 {} 个字符",
    "the URL is refused: it holds a backslash, a control character or space around it": (
        "该 URL 含有反斜杠、控制字符或首尾空格"
    ),
    "the URL is refused: its host or port cannot be read": "无法解析该 URL 的主机或端口",
    "the URL is refused: it must begin with http:// or https://": "该 URL 必须以 http:// 或 https:// 开头",
    "the URL is refused: it must not hold a user name or password": "该 URL 不得包含用户名或密码",
    "the URL is refused: port 0 does not exist": "端口 0 不存在",
    "the URL is refused: its IPv6 address cannot be read": "无法解析该 URL 的 IPv6 地址",
    "the URL is refused: an IPv6 address must not name a network card": "IPv6 地址不得指定网卡",
    "the URL is refused: write the host's name in ASCII (xn--...)": "主机名请使用 ASCII 形式（xn--...）",
    "the URL is refused: an address must be written as four decimal numbers, as 192.0.2.1": (
        "IP 地址必须写成四个十进制数，例如 192.0.2.1"
    ),
    "the URL is refused: it names no host": "该 URL 没有主机名",
    "the URL is refused: its host is no name that can exist": "该 URL 的主机名不合法",
    "the URL is refused: this server does not connect to port {}": "本服务器不连接端口 {}",
    "the URL is refused: {} is not a public host and not on a list of this server": (
        "{} 不是公网主机，也不在本服务器的允许列表中"
    ),
    "the name of the object must have 1 to {} bytes": "对象名称的长度必须为 1 至 {} 字节",
    "the name of the object holds '.', '..', '//' or a backslash": "对象名称含有“.”、“..”、“//”或反斜杠",
    "the name of the object is no text": "对象名称不是有效文本",
    "the name of the bucket is not one that can exist": "存储桶名称不合法",
    "the region of the bucket is not one that can exist": "存储桶的地域不合法",
}
_OTHER_REASON = "本服务器不能访问该地址"  # for reasons that occur while something is fetched


def reason(english: str) -> str:
    """The Chinese form of the reason for a refusal.

    >>> reason("the URL is refused: this server does not connect to port 22")
    '本服务器不连接端口 22'
    """
    for template, chinese in REASONS.items():
        pattern = re.escape(template).replace(r"\{\}", "(.+)")
        found = re.fullmatch(pattern, english, re.DOTALL)
        if found:
            return chinese.format(*found.groups())
    return _OTHER_REASON


def chinese(template: str, values: Mapping[str, object]) -> str:
    """The Chinese message for an English template and its values; values that are errors are reasons."""
    translated = {name: reason(str(value)) if isinstance(value, Exception) else value for name, value in values.items()}
    return CHINESE[template].format(**translated)
