"""Bytes of a file from its store, with the checks that the store supports.

    s3              the version that was looked up, or an error; a whole object is compared with its checksum, and
                    with the MD5 in its ETag if the object was uploaded in one part
    http, https     the version that was looked up, if its ETag is strong
    others          the number of bytes

Neither S3 nor HTTP has checksums for a range: only TLS detects bytes that change in transit.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import fsspec.asyn

_MD5 = re.compile("[0-9a-f]{32}")
_DIRECTORY_BUCKET = "--x-s3"
"""The suffix of the names of directory buckets, which have random ETags."""


class BadBytes(OSError):
    """Fewer bytes arrived than were requested, or the bytes differ from those of the store."""


def fetch_range(files: Any, path: str, *, etag: str, start: int, end: int, size: int) -> bytes:
    """The bytes from `start` to `end` of a file of `size` bytes.

    Args:
        files: The fsspec filesystem.
        etag: The version to read; empty for any.

    Raises:
        BadBytes: the bytes are not those of the store; another attempt may succeed.
        OSError: the error of the store, as fsspec raises it.
    """
    is_whole = start == 0 and end == size
    limits = {} if is_whole else {"start": start, "end": end}
    kind = type(files).protocol
    if "s3" in kind:
        content: bytes = fsspec.asyn.sync(files.loop, _get_object, files, path, etag, **limits)
    elif "https" in kind and etag.startswith('"'):
        headers = {**files.kwargs.get("headers", {}), "If-Match": etag}
        content = files.cat_file(path, headers=headers, **limits)
    elif kind == "hf":
        content = files.cat_file(path, cache_type="none", **limits)  # the default cache reads 5 MB more
    else:
        content = files.cat_file(path, **limits)
    if len(content) != end - start:
        raise BadBytes(f"{len(content):,} of {end - start:,} bytes arrived")
    return content


def known_md5(files: Any, path: str, *, etag: str) -> str:
    """The MD5 of a whole S3 object; empty if it is not known."""
    if "s3" not in type(files).protocol:
        return ""
    bucket, key, version = files.split_path(path)
    conditions = _without_empty(IfMatch=etag, VersionId=version)
    return _md5_of(files.call_s3("head_object", Bucket=bucket, Key=key, **conditions), bucket)


async def _get_object(files: Any, path: str, etag: str, start: int = 0, end: int | None = None) -> bytes:
    bucket, key, version = files.split_path(path)
    part = None if end is None else f"bytes={start}-{end - 1}"
    conditions = _without_empty(IfMatch=etag, VersionId=version, Range=part)
    answer = await files._call_s3("get_object", Bucket=bucket, Key=key, **conditions)
    try:
        content: bytes = await answer["Body"].read()  # compares a whole object with its checksum
    finally:
        answer["Body"].close()
    known = "" if part else _md5_of(answer, bucket)
    if known and known != hashlib.md5(content, usedforsecurity=False).hexdigest():
        raise BadBytes(f"the MD5 of the bytes is not that of the store, {known}")
    return content


def _without_empty(**arguments: str | None) -> dict[str, str]:
    return {name: value for name, value in arguments.items() if value}


def _md5_of(answer: Mapping[str, Any], bucket: str) -> str:
    """The MD5 in an ETag; empty if the object was uploaded in parts or is encrypted with a separate key."""
    etag = str(answer.get("ETag")).strip('"')
    is_plain = answer.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in answer
    return etag if is_plain and not bucket.endswith(_DIRECTORY_BUCKET) and _MD5.fullmatch(etag) else ""
