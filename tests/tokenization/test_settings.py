"""`tokenizer_config`: how a tokenizer is loaded, and what the config changes on it."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import ConfigError, SFTStream, StateError, TokenizerError, TrustError, load_config, parse_config
from tests.conftest import SMALL_TOKENIZER
from tests.models import make_model
from tests.real_data import FOLDER, needs_real_data
from tests.schemas import require_rejection
from tests.streams import make_rows, word_tokenizer

ROW = {"input": "call <|tool|> now", "response": "done"}
EOS, PAD, FIRST_NEW = 1, 2, 2048
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|eos|>{% endfor %}"


def config_of(base_model: object = SMALL_TOKENIZER, *, policy: str = "text", **settings: Any) -> dict[str, Any]:
    return {
        "base_model": str(base_model),
        "tokenizer_config": {"backend": "hf", "special_tokens_in_rows": policy, **settings},
        "prompt_config": {"kwargs": {"response_template": "Answer: {text}"}},
        "packing_config": {"method": "none"},
    }


def make_stream(*args: Any, rows: Any = (ROW,), **settings: Any) -> SFTStream:
    return SFTStream.from_config(config_of(*args, **settings), rows=list(rows))


def ids_of(stream: SFTStream) -> list[int]:
    [pack] = stream
    return [int(number) for number in pack.examples[0].input_ids]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the small tokenizer."""
    return Path(shutil.copytree(SMALL_TOKENIZER, tmp_path / "model"))


# ----------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(("policy", "is_token"), [("text", False), ("parse", True)])
def test_a_special_token_follows_the_policy_for_rows(policy: str, is_token: bool) -> None:
    stream = make_stream(policy=policy, add_special_tokens=["<|tool|>"])
    assert (FIRST_NEW in ids_of(stream)) == is_token
    assert stream.stats.special_tokens_in_rows == 1
    assert len(stream.tokenizer) == FIRST_NEW + 1
    assert stream.tokenizer.decode([FIRST_NEW, 300], skip_special_tokens=True) == stream.tokenizer.decode([300])


def test_a_token_that_is_not_special_is_read_in_every_row() -> None:
    stream = make_stream(add_tokens=["<|tool|>"])
    assert FIRST_NEW in ids_of(stream)
    assert stream.stats.special_tokens_in_rows == 0


@needs_real_data
def test_an_added_token_is_read_in_the_middle_of_a_word_of_llama_2() -> None:
    stream = make_stream(FOLDER / "tokenizers" / "llama-2", add_tokens=["<note>"], rows=[{**ROW, "input": "a<note>b"}])
    assert ids_of(stream).count(32000) == 1


def test_a_token_that_the_tokenizer_has_keeps_its_id_and_becomes_special(folder: Path) -> None:
    changed = json.loads((folder / "tokenizer.json").read_text())
    changed["added_tokens"][2] |= {"special": False, "rstrip": True}
    (folder / "tokenizer.json").write_text(json.dumps(changed))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|eos|>"}))
    unchanged = make_stream(folder, add_special_tokens=["<|eos|>"], add_tokens=["<|pad|>"])
    assert not unchanged.tokenizer.added_tokens_decoder[PAD].special
    for settings in ({"add_special_tokens": ["<|pad|>"]}, {"pad_token": "<|pad|>"}):
        tokenizer = make_stream(folder, **settings).tokenizer
        token = tokenizer.added_tokens_decoder[PAD]
        assert (len(tokenizer), token.content, token.special, token.rstrip) == (FIRST_NEW, "<|pad|>", True, True)


def test_every_response_ends_with_the_eos_of_the_config() -> None:
    stream = make_stream(add_special_tokens=["<|im_end|>"], eos_token="<|im_end|>")
    assert ids_of(stream)[-1] == FIRST_NEW
    assert ids_of(make_stream())[-1] == EOS


def test_padding_has_the_id_of_the_config_and_can_be_the_eos() -> None:
    for name, number in (("<|eos|>", EOS), ("<|pad|>", PAD)):
        stream = make_stream(pad_token=name)
        [batch] = stream.loader()
        assert batch["input_ids"][0, -1] == number
        trained = batch["labels"][0][batch["labels"][0] >= 0]
        assert trained[-1] == EOS  # the eos of the response is trained even if it is the padding


@pytest.mark.parametrize("name", ["eos_token", "pad_token"])
def test_eos_and_padding_must_be_tokens(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf'{name}: the tokenizer has no token "<\|eoss\|>".*did you mean "<\|eos\|>"'
    ):
        make_stream(**{name: "<|eoss|>"})


def test_added_tokens_are_compared_with_the_vocabulary_of_the_model(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(add_special_tokens=["<|im_end|>"], eos_token="<|im_end|>", pad_token="<|im_end|>")
    model = make_model("llama", vocab_size=FIRST_NEW)
    with pytest.raises(ConfigError, match=rf"token {FIRST_NEW}|the id {FIRST_NEW}"):
        stream.loader(model=model)
    model.resize_token_embeddings(len(stream.tokenizer))
    stream.loader(model=model)
    make_stream(add_tokens=["<|tool|>"], rows=[{**ROW, "input": "x"}]).fit(make_model("llama", vocab_size=FIRST_NEW))
    assert f"has 1 token that LlamaForCausalLM lacks: <|tool|> (id {FIRST_NEW})" in caplog.text


# ---------------------------------------------------------------------------------- chat template


def test_a_chat_template_is_a_text_or_a_file_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "chat.jinja").write_text(TEMPLATE)
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
    for template in (TEMPLATE, "chat.jinja"):
        path = tmp_path / "configs" / "stream.yaml"
        path.write_text(json.dumps(config_of(chat_template=template)))
        stream = SFTStream.from_yaml(path, rows=[row])
        assert stream.tokenizer.chat_template == TEMPLATE
        assert stream.render(row) == "user: Hi<|eos|>assistant: Yo<|eos|>"
    monkeypatch.chdir(tmp_path / "configs")
    assert make_stream(chat_template="chat.jinja").tokenizer.chat_template == TEMPLATE


def test_a_chat_template_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps(config_of(chat_template="chat.jinja"), indent=0))
    with pytest.raises(ConfigError, match=rf'yaml:\d+: tokenizer_config.chat_template: "chat.jinja" is no.*{tmp_path}'):
        SFTStream.from_yaml(path, rows=[ROW])


# --------------------------------------------------------------------------------------- loading


def test_a_subfolder_is_loaded(tmp_path: Path) -> None:
    shutil.copytree(SMALL_TOKENIZER, tmp_path / "model" / "small")
    stream = make_stream(tmp_path / "model", kwargs={"subfolder": "small", "revision": "main", "use_fast": True})
    assert ids_of(stream) == ids_of(make_stream())


def test_kwargs_reach_the_tokenizer() -> None:
    assert make_stream(kwargs={"model_max_length": 77}).tokenizer.model_max_length == 77
    with pytest.raises(TokenizerError, match="no tokenizer could be loaded for '.*', subfolder 'none'"):
        make_stream(kwargs={"subfolder": "none"})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"revison": "main"}, 'tokenizer_config.kwargs.revison: unknown key; .*did you mean "revision"'),
        ({"use_fast": False}, "tokenizer_config.kwargs.use_fast: must be true, because streams need"),
        ({"use_fast": "false"}, "tokenizer_config.kwargs.use_fast: must be true, because streams need"),
        ({"eos_token": "x"}, "tokenizer_config.kwargs.eos_token: unknown key here; it belongs in tokenizer_config"),
    ],
)
def test_wrong_kwargs_are_errors(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(config_of(kwargs=kwargs))
    require_rejection(config_of(kwargs=kwargs), str(caught.value))


@pytest.mark.parametrize("value", [True, False])
def test_no_config_lets_a_tokenizer_run_code(tmp_path: Path, value: bool) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(f"tokenizer_config:\n  kwargs:\n    trust_remote_code: {str(value).lower()}\n")
    message = r"yaml:3: tokenizer_config.kwargs.trust_remote_code: .* remove this key.*tokenizer=tokenizer"
    with pytest.raises(TrustError, match=message) as caught:
        load_config(path)
    require_rejection(path.read_text(), str(caught.value))


def test_no_message_shows_an_access_token(tmp_path: Path) -> None:
    for kwargs in ({"token": "my-secret-value"}, {"token": ["my-secret-value"]}, {"token": "my-secret\nvalue"}):
        with pytest.raises((ConfigError, TokenizerError)) as caught:
            make_stream("nobody/none", kwargs=kwargs)
        assert "my-secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert "my-secret" not in repr(parse_config(config_of(kwargs={"token": "my-secret-value"})))


def test_a_folder_with_a_tekken_file_loads_the_fast_tokenizer(folder: Path) -> None:
    words = [{"rank": n, "token_bytes": base64.b64encode(bytes([n])).decode(), "token_str": None} for n in range(256)]
    numbers = {"num_vocab_tokens": 256, "default_vocab_size": 256, "default_num_special_tokens": 0, "version": "v3"}
    (folder / "tekken.json").write_text(json.dumps({"config": {"pattern": ".", **numbers}, "vocab": words}))
    (folder / "config.json").write_text(json.dumps({"model_type": "mistral"}))
    # With mistral-common installed, AutoTokenizer itself takes tekken.json, and has no backend.
    assert ids_of(make_stream(folder)) == ids_of(make_stream())


# --------------------------------------------------------------------- a tokenizer of the caller


@pytest.mark.parametrize(
    "settings",
    [
        {"kwargs": {"revision": "main"}},
        {"add_tokens": ["<x>"]},
        {"add_special_tokens": ["<x>"]},
        {"eos_token": "</s>"},
        {"pad_token": "</s>"},
        {"chat_template": TEMPLATE},
    ],
)
def test_a_tokenizer_of_the_caller_is_used_as_it_is(settings: dict[str, Any]) -> None:
    tokenizer = word_tokenizer()
    before = (tokenizer.backend_tokenizer.to_str(), tokenizer.special_tokens_map, tokenizer.chat_template)
    [name] = settings
    with pytest.raises(ConfigError, match=f"tokenizer_config.{name}: .*do not pass tokenizer="):
        SFTStream.from_config(config_of(**settings), rows=make_rows(3), tokenizer=tokenizer)
    assert before == (tokenizer.backend_tokenizer.to_str(), tokenizer.special_tokens_map, tokenizer.chat_template)


# -------------------------------------------------------------------------------------- resuming


def test_a_state_belongs_to_the_eos_and_the_added_tokens_of_its_stream() -> None:
    rows = [{"input": f"question {number}", "response": "yes"} for number in range(40)]
    state = make_stream(rows=rows).loader().state_dict()
    with pytest.raises(StateError, match=r"eos was <\|eos\|> and is <\|pad\|>"):
        make_stream(rows=rows, eos_token="<|pad|>").loader().load_state_dict(state)
    with pytest.raises(StateError, match="another stream: tokenizer was"):
        make_stream(rows=rows, add_tokens=["<|tool|>"]).loader().load_state_dict(state)
    make_stream(rows=rows, pad_token="<|eos|>").loader().load_state_dict(state)  # padding changes no row
    del state["fingerprint"]["eos"]  # as a state of an earlier version
    make_stream(rows=rows).loader().load_state_dict(state)
