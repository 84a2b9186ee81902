"""Bytes of a file from its store, each store asked for what it can promise.

    s3              of the version that was looked up, or an error; a whole object is compared with its checksum, and
                    with the MD5 that its ETag is where it was written in one part
    http, https     of the version that was looked up, where its ETag is a strong one
    others          as many as were asked for

Neither S3 nor HTTP has checksums of a range: what changes on the way there, only TLS notices.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import fsspec.asyn

_MD5 = re.compile("[0-9a-f]{32}")
_DIRECTORY_BUCKET = "--x-s3"
"""How the names of the buckets end whose ETags are random."""


class BadBytes(OSError):
    """Fewer bytes came than were asked for, or other ones than the store has."""


def fetch(files: Any, path: str, *, etag: str, start: int, end: int, size: int) -> bytes:
    """The bytes from `start` to `end` of a file of `size` bytes.

    Args:
        files: The fsspec filesystem.
        etag: The version to read; empty for any.

    Raises:
        BadBytes: they are not what the store has; to be tried again.
        OSError: what the store says, as fsspec has it.
    """
    is_whole = start == 0 and end == size
    limits = {} if is_whole else {"start": start, "end": end}
    kind = type(files).protocol
    if "s3" in kind:
        found: bytes = fsspec.asyn.sync(files.loop, _get_object, files, path, etag, **limits)
    elif "https" in kind and etag.startswith('"'):
        headers = {**files.kwargs.get("headers", {}), "If-Match": etag}
        found = files.cat_file(path, headers=headers, **limits)
    elif kind == "hf":
        found = files.cat_file(path, cache_type="none", **limits)  # its default reads 5 MB more than is asked for
    else:
        found = files.cat_file(path, **limits)
    if len(found) != end - start:
        raise BadBytes(f"{len(found):,} of {end - start:,} bytes came")
    return found


def known_md5(files: Any, path: str, *, etag: str) -> str:
    """The MD5 of an object of S3 as a whole; empty where nothing says it."""
    if "s3" not in type(files).protocol:
        return ""
    bucket, key, version = files.split_path(path)
    asked = _given(IfMatch=etag, VersionId=version)
    return _md5_of(files.call_s3("head_object", Bucket=bucket, Key=key, **asked), bucket)


async def _get_object(files: Any, path: str, etag: str, start: int = 0, end: int | None = None) -> bytes:
    bucket, key, version = files.split_path(path)
    part = None if end is None else f"bytes={start}-{end - 1}"
    asked = _given(IfMatch=etag, VersionId=version, Range=part)
    answer = await files._call_s3("get_object", Bucket=bucket, Key=key, **asked)
    try:
        found: bytes = await answer["Body"].read()  # which compares a whole object with its checksum
    finally:
        answer["Body"].close()
    known = "" if part else _md5_of(answer, bucket)
    if known and known != hashlib.md5(found, usedforsecurity=False).hexdigest():
        raise BadBytes(f"the bytes that came have another MD5 than the store, {known}")
    return found


def _given(**arguments: str | None) -> dict[str, str]:
    return {name: value for name, value in arguments.items() if value}


def _md5_of(answer: Mapping[str, Any], bucket: str) -> str:
    """An ETag is an MD5 unless the object came in parts, or lies encrypted with a key of its own."""
    etag = str(answer.get("ETag")).strip('"')
    is_plain = answer.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in answer
    return etag if is_plain and not bucket.endswith(_DIRECTORY_BUCKET) and _MD5.fullmatch(etag) else ""
