"""Attachments → content parts of the Responses API: images, PDF, audio, other files.

In: paths, URLs or - for stdin, and the media types that --attach-type gives. Out: one part each, with the bytes in
base64; the URL of an image, or of a file where the API takes one, stays a URL. Downloads nothing.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from oastream.apis import api_named
from oastream.apis.api import Api
from oastream.exits import Outcome, failure_of
from oastream.input.prompt import decode_argument
from oastream.options import Options

MAX_ATTACHED_BYTES = 50 * 1024 * 1024
"""Largest attachments of a run, all together: more than any server takes in one request."""

ReadData = Callable[[str, int], bytes]
"""A path and a limit → the bytes of that file."""
Part = dict[str, Any]

# WHATWG MIME Sniffing 6.1, 6.2; RFC 9639 (FLAC); ISO/IEC 14496-12 and 23008-12 brands (M4A, HEIC, AVIF).
_SIGNATURES = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"BM.{4}\0{4}", "image/bmp"),
    (rb"II\*\0|MM\0\*", "image/tiff"),
    (rb"....ftyp(heic|heix|mif1|msf1)", "image/heic"),
    (rb"....ftypavi[fs]", "image/avif"),
    (rb"\s{0,1024}%PDF-", "application/pdf"),
    (rb"RIFF....WAVE", "audio/wav"),
    (rb"ID3|\xff[\xfb\xfa\xf3\xf2]", "audio/mpeg"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"FORM....AIF[FC]", "audio/aiff"),
    (rb"\xff[\xf1\xf9]", "audio/aac"),
    (rb"....ftypM4A ", "audio/mp4"),
)
_SNIFFED = [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _SIGNATURES]
_SNIFFED_BYTES = 2048

_OFFICE = "application/vnd.openxmlformats-officedocument."
_ENDINGS = {
    ".docx": f"{_OFFICE}wordprocessingml.document",
    ".xlsx": f"{_OFFICE}spreadsheetml.sheet",
    ".pptx": f"{_OFFICE}presentationml.presentation",
    ".md": "text/markdown",
    ".yaml": "application/yaml",
}
"""Names that Python's table does not have, or only in some versions."""
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mp4": "m4a", "x-m4a": "m4a"}
"""Formats of audio as the APIs name them, where the media type's own name is another."""
_ALIASES = {"image/jpg": "image/jpeg", "audio/mp3": "audio/mpeg"}
_NAMED = {"audio/mpeg": ".mp3", "audio/wav": ".wav", "application/pdf": ".pdf", "text/plain": ".txt"}


def read_attachments(options: Options, read: ReadData) -> list[Part]:
    """A part for each attachment, in order. Raises `Failure` with outcome input for what cannot be attached."""
    api = api_named(options.api)
    size = 0
    parts = []
    for source, given in zip(options.attach, _types_given(options), strict=True):
        if _is_url(source):
            parts.append(_part_of_url(decode_argument(source, "--attach"), given, api))
            continue
        data = read(source, MAX_ATTACHED_BYTES)
        if not data:
            raise failure_of(Outcome.INPUT, f"{_display_name(source)} is empty")
        size += len(data)
        if size > MAX_ATTACHED_BYTES:
            why = f"together over {MAX_ATTACHED_BYTES} bytes"
            raise failure_of(Outcome.INPUT, "the attachments are too large", why)
        parts.append(_part_of_file(source, data, given, api))
    return parts


def _types_given(options: Options) -> Sequence[str]:
    """The --attach-type of each attachment: one is for all of them, and "" stands for none. The edge has counted."""
    types = [name.lower() for name in options.attach_type]
    if len(types) == 1:
        return types * len(options.attach)
    return types or [""] * len(options.attach)


def media_type(name: str, data: bytes) -> str:
    """What the content is, by its first bytes; by its name where these say nothing, as for text and office files."""
    head = data[:_SNIFFED_BYTES]
    for pattern, kind in _SNIFFED:
        if pattern.match(head):
            return kind
    by_name = _type_by_name(name)
    if by_name is not None:
        return by_name
    if _is_text(head):
        return "text/plain"
    return "application/octet-stream"


def _is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def _part_of_url(url: str, given: str, api: Api) -> Part:
    # A URL that tells nothing is taken for an image, the one thing that both APIs take as a URL.
    kind = _ALIASES.get(given, given) or _type_by_name(re.split(r"[?#]", url)[0]) or "image/*"
    if kind.startswith("image/"):
        return _image_part(url)
    if kind.startswith("audio/"):
        raise failure_of(Outcome.INPUT, f"cannot attach {url}", "audio goes as a file only; download it first")
    if not api.takes_file_urls:
        why = f"--api {api.name} takes only images as URLs; download it first"
        raise failure_of(Outcome.INPUT, f"cannot attach {url}", why)
    return {"type": "input_file", "file_url": url}


def _part_of_file(source: str, data: bytes, given: str, api: Api) -> Part:
    kind = _ALIASES.get(given, given) or media_type(source, data)
    content = base64.b64encode(data).decode()
    main, _, sub = kind.partition("/")
    if main == "image":
        return _image_part(f"data:{kind};base64,{content}")
    if main == "audio" and not api.takes_audio:
        why = f"{api.title} takes no audio"
        raise failure_of(Outcome.INPUT, f"cannot attach {_display_name(source)}", why, "--api chat does")
    if main == "audio":
        return {"type": "input_audio", "input_audio": {"data": content, "format": _AUDIO_FORMATS.get(sub, sub)}}
    return {"type": "input_file", "filename": _filename(source, kind), "file_data": f"data:{kind};base64,{content}"}


def _image_part(url: str) -> Part:
    """`detail` is mandatory in the API's description, and some servers hold to it."""
    return {"type": "input_image", "image_url": url, "detail": "auto"}


def _filename(source: str, kind: str) -> str:
    """The file's own name without its folders; servers choose a reader by its ending."""
    if source == "-":
        return "stdin" + _NAMED.get(kind, "")
    return os.fsencode(os.path.basename(source)).decode("utf-8", "replace")


def _type_by_name(name: str) -> str | None:
    import mimetypes  # 5 ms that few attachments need

    ending = os.path.splitext(name)[1].lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    # A table of its own: the system's may say anything.
    guess, compression = mimetypes.MimeTypes().guess_type(name, strict=False)
    if compression is not None:  # of notes.txt.gz it gives what is inside
        return None
    return guess


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character cut in two
            return False
        text = head[: error.start].decode()
    return not any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text)


def _display_name(source: str) -> str:
    if source == "-":
        return "stdin"
    return source
