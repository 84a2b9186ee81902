"""Configs are read and validated, and the messages name every problem."""

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from samsum_stream.config import StreamConfig, load_config, parse_config
from samsum_stream.errors import ConfigError
from tests.schemas import require_rejection

SOURCE = {"method": "jsonl", "kwargs": {"path": "rows.jsonl"}}

FULL = """\
source_config:
  method: load_dataset
  kwargs: {path: knkarthick/samsum, split: train}
  columns: {input: dialogue, response: summary}
base_model: meta-llama/Llama-2-7b-hf
prompt_config:
  method: Prompt
  kwargs:
    system_message: "Please summarize the following conversation"
    input_template: "Conversation: {text}"
prompt_format_config: {method: VicunaFormat}
tokenizer_config: {backend: auto, special_tokens_in_rows: text, verify_every: 50}
packing_config: {method: best_fit, kwargs: {max_length: 1024, buffer_size: 32}}
truncation_config: {method: drop}
collator_config: {method: packed, kwargs: {attention: auto}}
fault_config: {on_bad_row: raise, max_bad_rows: 0, quarantine_path: null}
batch_size: 4
shuffle: true
seed: 0
epochs: null
lanes: auto
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "stream.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problem_of_file(folder: Path, text: str) -> str:
    """The message, with the path of the file replaced by `F`."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    require_rejection(text, str(caught.value))
    return str(caught.value).replace(str(path), "F")


def problem_of(**changes: Any) -> str:
    config = {"source_config": SOURCE, **changes}
    with pytest.raises(ConfigError) as caught:
        parse_config(config)
    require_rejection(config, str(caught.value))
    return str(caught.value)


# ---------------------------------------------------------------------------------- valid configs


def test_the_documented_yaml_is_read(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, FULL))
    assert config.source_config.kwargs == {"path": "knkarthick/samsum", "split": "train"}
    assert config.source_config.columns == {"input": "dialogue", "response": "summary"}
    assert config.prompt_config.kwargs["input_template"] == "Conversation: {text}"
    assert config.prompt_format_config is not None
    assert config.packing_config.kwargs.max_length == 1024
    assert config.epochs is None


def test_defaults_agree_with_the_documentation() -> None:
    config = parse_config({"source_config": SOURCE})
    assert (config.prompt_config.method, config.prompt_format_config, config.base_model) == ("Prompt", None, None)
    assert (config.packing_config.method, config.truncation_config.method) == ("best_fit", "drop")
    assert config.packing_config.kwargs.model_dump() == {"max_length": 2048, "buffer_size": 64}
    assert (config.collator_config.method, config.collator_config.kwargs.attention) == ("packed", "auto")
    assert config.tokenizer_config.model_dump(exclude={"kwargs"}) == {
        "backend": "auto",
        "special_tokens_in_rows": "text",
        "ids_without_borders": "error",
        "verify_every": 1000,
        "add_tokens": [],
        "add_special_tokens": [],
        "eos_token": None,
        "pad_token": None,
        "chat_template": None,
    }
    assert config.tokenizer_config.loading_kwargs == {}
    assert (config.batch_size, config.shuffle, config.seed, config.epochs, config.lanes) == (8, True, 0, 1, "auto")
    assert (config.ignore_index, config.num_proc) == (-100, 1)


@pytest.mark.parametrize("method", ["packed", "padded", "padding_free"])
def test_a_dumped_config_is_read_again(method: str) -> None:
    config = parse_config({"source_config": SOURCE, "collator_config": {"method": method}})
    assert parse_config(config.model_dump()) == config
    assert parse_config(json.loads(config.model_dump_json())) == config


def test_a_file_and_a_mapping_with_the_same_content_are_equal(tmp_path: Path) -> None:
    path = write(tmp_path, f"source_config: {json.dumps(SOURCE)}")
    assert load_config(path) == parse_config({"source_config": SOURCE})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse_config({"source_config": SOURCE}).seed = 3


def test_a_pickled_config_keeps_its_locations(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    config = pickle.loads(pickle.dumps(load_config(path)))
    assert config == load_config(path)
    where = config.where("prompt_config", "kwargs", "input_template")
    assert where == f"{path}:10: prompt_config.kwargs.input_template"
    assert config.where("collator_config", "kwargs", "padding_side").startswith(f"{path}:15: ")


def test_every_key_is_described() -> None:
    def undescribed(model: type[BaseModel]) -> list[str]:
        return [name for name, field in model.model_fields.items() if not field.description]

    config = parse_config({"source_config": SOURCE, "prompt_format_config": {"method": "VicunaFormat"}})
    models: list[type[BaseModel]] = [type(value) for _, value in config if isinstance(value, BaseModel)]
    models += [StreamConfig, type(config.packing_config.kwargs), type(config.collator_config.kwargs)]
    assert [undescribed(model) for model in models if undescribed(model)] == []
    assert StreamConfig.model_json_schema()["properties"]["batch_size"]["description"]


def test_paths_are_not_changed(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "source_config: {method: jsonl, kwargs: {path: ../a.jsonl}}"))
    assert config.source_config.kwargs["path"] == "../a.jsonl"


def test_aliases_are_replaced_by_their_values(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "source_config: {method: &m jsonl, kwargs: {path: *m}}"))
    assert config.source_config.kwargs == {"path": "jsonl"}


# ------------------------------------------------------------------------------------ unknown keys and wrong values


def test_the_message_for_an_unknown_key_has_its_line_the_known_keys_and_the_closest(tmp_path: Path) -> None:
    message = problem_of_file(tmp_path, FULL + "batchsize: 8\n")
    assert message.startswith("F:22: batchsize: unknown key; known: source_config, base_model, ")
    assert message.endswith('; did you mean "batch_size"?')


def test_the_message_for_an_unknown_key_of_a_section_lists_the_keys_of_this_section(tmp_path: Path) -> None:
    message = problem_of_file(tmp_path, FULL.replace("buffer_size", "bufer_size"))
    known = 'known: max_length, buffer_size; did you mean "buffer_size"?'
    assert message == f"F:13: packing_config.kwargs.bufer_size: unknown key; {known}"


def test_the_message_for_a_key_in_the_wrong_section_names_the_right_section() -> None:
    assert problem_of(max_length=5) == "config: max_length: unknown key here; it belongs in packing_config.kwargs"
    message = problem_of(packing_config={"method": "greedy", "max_length": 5})
    assert message == "config: packing_config.max_length: unknown key here; it belongs in packing_config.kwargs"


def test_the_message_for_a_missing_key_describes_the_key(tmp_path: Path) -> None:
    message = problem_of_file(tmp_path, "seed: 1\nprompt_format_config:\n  kwargs: {}\n")
    assert message.startswith("F:2: prompt_format_config.method: this key is missing; write the format: ")


def test_a_padded_collator_turns_packing_off() -> None:
    assert parse_config({"collator_config": {"method": "padded"}}).packing_config.method == "none"


def test_a_padded_collator_refuses_packs_of_many_examples() -> None:
    with pytest.raises(ConfigError, match="packing_config.method: .*a padded row holds one example"):
        parse_config({"collator_config": {"method": "padded"}, "packing_config": {"method": "greedy"}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size: must be a whole number of 1 or more; got 0 (whole number)"),
        ({"batch_size": True}, "batch_size: must be a whole number of 1 or more; got true (true or false)"),
        ({"batch_size": 8.0}, "must be a whole number of 1 or more; got 8.0 (decimal number); write 8"),
        ({"batch_size": "8"}, 'must be a whole number of 1 or more; got "8" (text); write 8 without quotes'),
        ({"seed": -1}, "seed: must be a whole number of 0 or more; got -1 (whole number)"),
        ({"shuffle": "true"}, 'shuffle: must be true or false; got "true" (text); write true without quotes'),
        ({"epochs": 0}, "epochs: must be a whole number of 1 or more, or null; got 0 (whole number)"),
        ({"lanes": 0}, 'lanes: must be "auto" or a whole number of 1 or more; got 0 (whole number)'),
        ({"lanes": "Auto"}, 'got "Auto" (text); did you mean "auto"?'),
        ({"base_model": 7}, "base_model: must be non-empty text, or null; got 7 (whole number); write it in quotes"),
        ({"base_model": ""}, 'base_model: must be non-empty text, or null; got "" (text)'),
        ({"prompt_config": "Prompt"}, 'with the keys method, kwargs; got "Prompt" (text); write {method: Prompt}'),
        ({"tokenizer_config": None}, "got null; leave the key out for the defaults"),
        (
            {"ignore_index": [1]},
            "ignore_index: must be a whole number of 32 bits, -2147483648 to 2147483647; got a list",
        ),
        ({"ignore_index": 2**31}, "-2147483648 to 2147483647; got 2147483648 (whole number)"),
        ({"packing_config": {"kwargs": {"max_length": "x"}}}, "packing_config.kwargs.max_length: must be"),
        ({"fault_config": {"max_bad_rows": -0.5}}, "max_bad_rows: must be a number of 0 or more; got -0.5"),
    ],
)
def test_the_message_for_a_wrong_value_has_the_rule_and_the_type(changes: dict[str, Any], message: str) -> None:
    assert message in problem_of(**changes)


@pytest.mark.parametrize(
    ("section", "method", "guess"),
    [
        ("packing_config", "best-fit", "best_fit"),
        ("truncation_config", "dropp", "drop"),
        ("collator_config", "Padded", "padded"),
    ],
)
def test_the_message_for_a_misspelled_method_lists_the_known_methods(section: str, method: str, guess: str) -> None:
    message = problem_of(**{section: {"method": method}})
    assert message.startswith(f'config: {section}.method: must be a known name; got "{method}" (text); known: ')
    assert message.endswith(f'did you mean "{guess}"?')


@pytest.mark.parametrize("bad", [{1: "a"}, {"source_config": {**SOURCE, "kwargs": {2: 3}}}])
def test_keys_of_a_mapping_must_be_text(bad: dict[Any, Any]) -> None:
    with pytest.raises(ConfigError, match=r"a key must be text; got [12] \(whole number\) as a key"):
        parse_config({"source_config": SOURCE, **bad})


def test_a_config_must_be_a_mapping() -> None:
    with pytest.raises(ConfigError, match="mapping of keys to values"):
        parse_config("stream.yaml")  # type: ignore[arg-type]


def test_one_message_lists_all_problems_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "seed: no\nsource_config: {method: jsonl}\nlanes: 0\nseed: 1\nwrong: 1\n"
    lines = problem_of_file(tmp_path, text).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["F:1", "seed"],
        ["F:3", "lanes"],
        ["F:4", "seed"],
        ["F:5", "wrong"],
    ]


# ------------------------------------------------------------------------------------- rules between keys


def test_columns_are_limited_to_the_known_fields_of_a_row() -> None:
    message = problem_of(source_config={**SOURCE, "columns": {"inputs": "dialogue"}})
    assert message.startswith("config: source_config.columns.inputs: unknown column; known: input, response, contexts")
    assert message.endswith('did you mean "input"?')
    message = problem_of(source_config={**SOURCE, "columns": {"context": "a", "contexts": "b"}})
    assert "contexts and context are two names of one column" in message
    assert "columns.input: must be text" in problem_of(source_config={**SOURCE, "columns": {"input": 3}})


def test_collator_kwargs_belong_to_their_method() -> None:
    message = problem_of(collator_config={"method": "packed", "kwargs": {"padding_side": "left"}})
    assert message == (
        'config: collator_config.kwargs.padding_side: belongs to method "padded", but the method is "packed"; '
        "arguments of packed: attention, pad_to_multiple_of, measure"
    )
    message = problem_of(collator_config={"method": "padding_free", "kwargs": {"attention": "auto"}})
    ending = 'belongs to method "packed", but the method is "padding_free"; arguments of padding_free: '
    assert message.endswith(f"{ending}pad_to_multiple_of, measure")
    kwargs = {"padding_side": "left", "pad_to_multiple_of": 8}
    config = parse_config({"source_config": SOURCE, "collator_config": {"method": "padded", "kwargs": kwargs}})
    assert config.collator_config.model_dump()["kwargs"] == {**kwargs, "measure": True}


def test_attention_must_be_a_known_name() -> None:
    message = problem_of(collator_config={"kwargs": {"attention": "blockmask"}})
    assert "collator_config.kwargs.attention" in message
    assert "block_mask" in message


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"on_bad_row": "skip"}, "max_bad_rows: on_bad_row: skip needs a limit; write a number per rank"),
        (
            {"on_bad_row": "skip", "max_bad_rows": 1.5},
            "max_bad_rows: a decimal number is a share below 1; got 1.5",
        ),
        ({"max_bad_rows": 3}, "max_bad_rows: requires on_bad_row: skip, but on_bad_row is raise; write skip"),
        ({"quarantine_path": "bad.jsonl"}, "quarantine_path: requires on_bad_row: skip"),
    ],
)
def test_limits_require_that_bad_rows_are_skipped(kwargs: dict[str, Any], message: str) -> None:
    assert f"fault_config.{message}" in problem_of(fault_config=kwargs)


# --------------------------------------------------------------------------------------- the older layout


def test_a_file_in_the_older_layout_runs_with_one_warning(tmp_path: Path) -> None:
    text = """\
source_config: {method: load_from_disk, kwargs: {dataset_path: data/samsum}}
base_model: gpt2
chunksize: 512
ignore_index: -1
num_proc: 4
dataset_writer_config: {method: save_to_disk, kwargs: {dataset_path: out}}
"""
    with pytest.warns(UserWarning, match="nothing is written to disk") as caught:
        config = load_config(write(tmp_path, text))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (config.packing_config.kwargs.max_length, config.ignore_index, config.num_proc) == (512, -1, 4)
    assert config.source_config.kwargs == {"dataset_path": "data/samsum"}


def test_a_config_without_a_writer_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_config({"source_config": SOURCE, "chunksize": 512})


def test_chunksize_is_added_to_the_packing_kwargs_without_changing_the_mapping() -> None:
    packing = {"method": "greedy", "kwargs": {"buffer_size": 2}}
    config = parse_config({"source_config": SOURCE, "chunksize": 512, "packing_config": packing})
    assert config.packing_config.kwargs.model_dump() == {"max_length": 512, "buffer_size": 2}
    assert packing == {"method": "greedy", "kwargs": {"buffer_size": 2}}


def test_chunksize_and_max_length_must_agree() -> None:
    same = {"kwargs": {"max_length": 512}}
    assert parse_config({"source_config": SOURCE, "chunksize": 512, "packing_config": same})
    message = problem_of(chunksize=256, packing_config=same)
    assert message.startswith("config: chunksize: is 256 (whole number), but packing_config.kwargs.max_length")
    assert "keep one of the two" in message


def test_the_message_for_a_wrong_chunksize_names_chunksize(tmp_path: Path) -> None:
    message = problem_of_file(tmp_path, "source_config: {method: jsonl}\nchunksize: 0\n")
    assert message == "F:2: chunksize: must be a whole number of 1 or more; got 0 (whole number)"
    assert 'did you mean "chunksize"?' in problem_of(chunk_size=5)


def test_a_writer_must_be_a_mapping() -> None:
    assert "dataset_writer_config: must be a mapping; got 5" in problem_of(dataset_writer_config=5)


# ------------------------------------------------------------------------------------------- YAML traps


def test_a_duplicate_key_names_both_lines(tmp_path: Path) -> None:
    message = problem_of_file(tmp_path, FULL + "seed: 1\n")
    assert message == "F:22: seed: the key occurs twice, on line 19 and on line 22; keep one of the two"


@pytest.mark.parametrize(
    ("text", "reading", "remedy"),
    [
        ("no", "false", 'write false, or "no" in quotes'),
        ("Off", "false", 'write false, or "Off" in quotes'),
        ("yes", "true", 'write true, or "yes" in quotes'),
        ("on", "true", 'write true, or "on" in quotes'),
        ("1e-3", "text, not as a number", 'write 1.0e-3, or "1e-3" in quotes'),
        ("1.5e-3x", None, None),
        ("2.5e-4", None, None),
        ("-.5e-7", "text, not as a number", 'write -0.5e-7, or "-.5e-7" in quotes'),
        ("1e3", "text, not as a number", 'write 1000, or "1e3" in quotes'),
        ("09", "text, not as a number", 'write 9, or "09" in quotes'),
        ("012", "the octal number 10", 'write 12, or "012" in quotes'),
        ("-012", "the octal number -10", 'write -12, or "-012" in quotes'),
        ("0o17", "text", 'write 15, or "0o17" in quotes'),
        ("1:30", "the number 90 (to base 60)", 'write 90, or "1:30" in quotes'),
        ("2024-01-01", "a date", 'write "2024-01-01" in quotes'),
        ("2024-02-31", "a value that a config cannot contain", 'write "2024-02-31" in quotes'),
        ("=", "a value that a config cannot contain", 'write "=" in quotes'),
        ("true", None, None),
        ("FALSE", None, None),
        ("0", None, None),
        ("0x1f", None, None),
        ("1_000", None, None),
        ("~", None, None),
        ("y", None, None),
        ("1.2.3", None, None),
        ("nan", None, None),
        ("'no'", None, None),
        ('"1e-3"', None, None),
    ],
)
def test_a_value_that_yaml_reads_differently_than_it_looks_is_an_error(
    tmp_path: Path, text: str, reading: str | None, remedy: str | None
) -> None:
    yaml_text = f"source_config:\n  method: jsonl\n  kwargs:\n    value: {text}\n"
    if reading is None:
        assert "value" in load_config(write(tmp_path, yaml_text)).source_config.kwargs
    else:
        message = problem_of_file(tmp_path, yaml_text)
        assert message == f"F:4: source_config.kwargs.value: YAML reads the unquoted {text} as {reading}; {remedy}"


def test_the_remedies_for_numbers_are_numbers_to_yaml(tmp_path: Path) -> None:
    for text, value in [("1.0e-3", 1e-3), ("-0.5e-7", -0.5e-7), ("1000", 1000)]:
        config = load_config(write(tmp_path, f"source_config: {{method: jsonl, kwargs: {{value: {text}}}}}"))
        assert config.source_config.kwargs["value"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: a\n", 'F:1: a key must be text; YAML reads 1 as 1 (whole number); write "1" in quotes'),
        ("on: a\n", 'F:1: a key must be text; YAML reads on as true (true or false); write "on" in quotes'),
        ("? [a]\n: b\n", "F:1: a key must be text; got a list or a mapping as a key"),
        ("base: &b {seed: 1}\n<<: *b\n", "F:2: merge keys (<<) are not supported; write the keys out"),
        ("seed: !!python/object/apply:os.system [x]\n", 'F:1: seed: the tag "!!python/object/apply:os.system" is not'),
        ("seed: !!int '3'\n", 'F:1: seed: the tag "!!int" is not allowed'),
        ("seed: !own {a: 1}\n", 'F:1: seed: the tag "!own" is not allowed'),
        ("seed: &a [*a]\n", "F:1: seed[0]: an alias refers to a value that contains it"),
        ("seed: 1\n---\nseed: 2\n", "F:2: invalid YAML: expected a single document"),
        ("seed: [1\n", "F:2: invalid YAML: while parsing a flow sequence"),
        ("a:\n\t- b\n", "indent with spaces instead of tabs"),
        ("a: \x07b\n", "F:1: invalid YAML: the character U+0007 is not allowed"),
        ("seed: *nobody\n", "F:1: invalid YAML: found undefined alias 'nobody'"),
        ("- a\n- b\n", "F:1: a config is a mapping of keys to values; got a list"),
        ("just text\n", 'F:1: a config is a mapping of keys to values; got "just text" (text)'),
        ("", "F: the config is empty"),
        ("# nothing\n---\n", "F: the config is empty"),
        ("a: " + "[" * 5000, "F: nested too deeply"),
        ("# " + "x" * 1_000_001, "F: longer than 1,000,000 characters"),
        ('a:\n  "\\U00110000": b\n', "F:2: invalid YAML: an escape such as \\U0001F600 is not a character"),
        ('a: "\\UFFFFFFFF"\n', "F:1: invalid YAML: an escape such as \\U0001F600 is not a character"),
        ('"\\ud83d\\ude00": a\n', "F:1: an escape from \\ud800 to \\udfff is half of a character"),
        ('base_model: "\\ud83d"\n', "F:1: base_model: an escape from \\ud800 to \\udfff is half of a character"),
    ],
)
def test_yaml_that_is_not_a_config_is_an_error_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    assert message in problem_of_file(tmp_path, text)


@pytest.mark.parametrize(
    "number",
    ["9" * 5000, "0x" + "f" * 5000, "0" + "7" * 6000, "0o" + "7" * 6000, "1e" + "9" * 5000, "1" + ":1" * 400 + ".5"],
)
def test_a_number_that_python_cannot_print_is_an_error(tmp_path: Path, number: str) -> None:
    assert problem_of_file(tmp_path, f"seed: {number}\n").startswith("F:1: seed: YAML reads the unquoted ")


def test_aliases_that_multiply_are_stopped(tmp_path: Path) -> None:
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    message = problem_of_file(tmp_path, "\n".join(["a0: &a0 [x]", *levels]))
    assert "aliases repeat more than 1,000 values" in message


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="the config cannot be read: ") as caught:
        load_config(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


def test_the_message_for_a_file_that_is_not_utf_8_has_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"seed: 1\nbase_model: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:2: not UTF-8"):
        load_config(path)


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfsource_config: {method: jsonl}\n")
    assert load_config(path).source_config.method == "jsonl"


# -------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model": {"token": "S3CRET"}},
        {"base_model": ["S3CRET"]},
        {"seed": "s3://me:S3CRET@bucket/rows"},
        {"seed": "https://host/rows?X-Amz-Signature=S3CRET"},
        {"seed": "hf_S3CRETS3CRETS3CRET"},
        {"https://host/?token=S3CRET": 1},
        {"source_config": {**SOURCE, "columns": {"token": "S3CRET", "input": 1}}},
        {"source_config": {"method": "jsonl", "kwargs": "az://c?sig=S3CRET"}},
        {"fault_config": {"quarantine_path": "s3://me:S3CRET@bucket/bad"}},
    ],
)
def test_messages_never_contain_credentials(changes: dict[str, Any]) -> None:
    assert "S3CRET" not in problem_of(**changes)


def test_the_message_for_an_unquoted_secret_that_looks_like_a_number_does_not_contain_it(tmp_path: Path) -> None:
    message = problem_of_file(tmp_path, "source_config: {method: jsonl, kwargs: {storage_options: {key: 12e45}}}")
    assert "kwargs.storage_options.key: YAML reads this unquoted value differently than it looks" in message
    assert "12" not in message


def test_the_error_has_no_pydantic_error_as_its_context() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"source_config": SOURCE, "seed": "x"})
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_the_repr_does_not_contain_the_arguments_of_a_source() -> None:
    source = {"method": "jsonl", "kwargs": {"storage_options": {"key": "S3CRET"}}}
    assert "S3CRET" not in repr(parse_config({"source_config": source}))


def test_long_values_are_cut() -> None:
    message = problem_of(seed="x" * 5000)
    assert re.search(r'got "x{80}…" \(5,000 characters\) \(text\)', message)
