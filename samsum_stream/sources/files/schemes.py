"""Loader arguments that a config must not use: remote code, and URLs that run commands or reach more than data."""

from collections.abc import Iterator, Mapping
from typing import Any

from samsum_stream.errors import ConfigError, TrustError
from samsum_stream.errors.redaction import redact, texts_in
from samsum_stream.errors.wording import did_you_mean

SCHEMES = frozenset(
    {"file", "local", "memory", "http", "https", "hf", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
    | {"wasb", "wasbs", "oci", "oss", "hdfs", "webhdfs", "zip", "tar", "gzip", "bz2", "xz", "zstd"}
    | {"simplecache", "filecache"}
)
"""The fsspec filesystems that a config can name; `ssh`, `sftp`, `reference`, `github` and similar ones are excluded."""

_BUILDERS = {
    "pandas": "unpickles files, which runs their code",
    "sql": "sends a query to a database, which can change data and run code",
    "spark": "runs a job on a Spark cluster",
    "iceberg": "queries a catalog server, which decides what to load",
}
"""Builders of the `datasets` library that do more than read data files, with the reason for the refusal."""

_PATH_KEYS = ("path", "data_files", "data_dir", "dataset_path")
_OTHER_FILESYSTEMS = ("protocol", "target_protocol", "remote_protocol")
_OTHER_FILE = "fo"


def refuse_code(kwargs: Mapping[str, Any]) -> None:
    """Raise `TrustError` for arguments of `load_dataset` that run code, unpickle files or query servers."""
    if kwargs.get("trust_remote_code"):
        raise TrustError("load_dataset: a config cannot set `trust_remote_code`; leave it out and name data files")
    if reason := _BUILDERS.get(str(kwargs.get("path"))):
        raise TrustError(
            f"load_dataset: `path: {kwargs['path']}` {reason}; use parquet instead, or read it in your own code and "
            f"pass `rows=`"
        )


def refuse_schemes(kwargs: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a URL, also one in a chain (`zip://a.json::https://...`), with a scheme not in `SCHEMES`.

    The options of a filesystem can also name another filesystem that it reads through, and the file to read there.
    """
    for key in _PATH_KEYS:
        for url in texts_in(kwargs[key]) if key in kwargs else ():
            refuse_scheme(key, url)
    _refuse_options(kwargs.get("storage_options"))


def _refuse_options(options: object) -> None:
    for key, value in options.items() if isinstance(options, Mapping) else ():
        if isinstance(value, str) and key in _OTHER_FILESYSTEMS:
            refuse_scheme(f"storage_options.{key}", f"{value}://")
        elif isinstance(value, str) and key == _OTHER_FILE:
            refuse_scheme(f"storage_options.{key}", value)
        else:
            _refuse_options(value)


def refuse_scheme(key: str, url: str) -> None:
    """Raise `ConfigError` for a URL with a scheme not in `SCHEMES`; `key` is the place in the config."""
    for scheme in _schemes(url):
        if scheme not in SCHEMES:
            raise ConfigError(
                f"{key}: the scheme {scheme!r} of {redact(url)} is not allowed in a config; "
                f"{did_you_mean(scheme, sorted(SCHEMES))}; or open it in your own code and pass `rows=`"
            )


def _schemes(url: str) -> Iterator[str]:
    *wrappers, last = url.split("::")
    for link in wrappers:
        yield link.partition("://")[0]
    if "://" in last:
        yield last.partition("://")[0]
