"""Writes the first dialogues as files of other formats: `python examples/data/make_files.py`."""

import csv
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent
NUM_ROWS = 48
COLUMNS = ("id", "dialogue", "summary")


def main() -> None:
    lines = (FOLDER / "dialogues.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:NUM_ROWS]
    rows = [json.loads(line) for line in lines]
    (FOLDER / "dialogues.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    for name, delimiter in (("dialogues.csv", ","), ("dialogues.tsv", "\t")):
        with (FOLDER / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), FOLDER / "dialogues.parquet", row_group_size=16)
    (FOLDER / "dialogues.jsonl.zst").write_bytes(compressed("".join(lines).encode()))
    (FOLDER / "dialogues.tar.zst").write_bytes(compressed(tar_of(rows)))


def tar_of(rows: list[dict[str, str]]) -> bytes:
    """A tar in the layout of webdataset, with a text file for each column."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for row in rows:
            for column in ("dialogue", "summary"):
                info = tarfile.TarInfo(f"{row['id']}.{column}.txt")
                info.size = len(content := row[column].encode())
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def compressed(content: bytes) -> bytes:
    result: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return result


if __name__ == "__main__":
    main()
