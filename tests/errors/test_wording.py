"""Messages offer the closest name, and show values without their secrets."""

import pytest

from samsum_stream.errors.wording import did_you_mean, names_a_secret, shown, without_secrets


def test_a_misspelled_name_gives_the_known_names_and_the_closest() -> None:
    assert did_you_mean("gredy", ["best_fit", "greedy"]) == 'known: best_fit, greedy; did you mean "greedy"?'
    assert did_you_mean("prompt", ["Prompt"]) == 'known: Prompt; did you mean "Prompt"?'
    assert did_you_mean("zzz", ["Prompt"]) == "known: Prompt"
    assert did_you_mean("zzz", []) == "known: none"


def test_a_long_list_of_known_names_is_cut() -> None:
    names = [f"name_{number}" for number in range(100)]
    assert did_you_mean("nam_99", names).endswith('name_23, and 76 more; did you mean "name_99"?')


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://me:pw@bucket/a?X-Signature=b", "s3://***@bucket/a?***"),
        ("https://me:p@w@host/a", "https://***@host/a"),
        ("zip://a.json::https://me:pw@host/z.zip?b=c", "zip://a.json::https://***@host/z.zip?***"),
        ("see https://host/a?b=c and d", "see https://host/a?*** and d"),
        ("https://host/a#token=b", "https://host/a#***"),
        (
            "'https://host/a?b#c' and zip://d#e::https://host/f.zip",
            "'https://host/a?***#*** and zip://d#***::https://host/f.zip",
        ),
        ("hf://datasets/a/b", "hf://datasets/a/b"),
        ("what? me@home", "what? me@home"),
        ("with hf_abcdefghijkl inside", "with hf_*** inside"),
    ],
)
def test_urls_lose_credentials_and_queries(text: str, masked: str) -> None:
    assert without_secrets(text) == masked


@pytest.mark.parametrize(
    "start",
    [
        "hf_", "ghp_", "github_pat_", "gho_", "ghs_", "ghu_", "ghr_", "glpat-", "xoxa-", "xoxb-", "xoxp-", "sk-",
        "AKIA", "AIza",
    ],
)  # fmt: skip
def test_access_tokens_are_masked(start: str) -> None:
    assert without_secrets(f"got {start}11ABCDEFG0_x-9zzz, and more") == f"got {start}***, and more"


@pytest.mark.parametrize("text", ["ghost_writers", "hf_a", "xoxb", "a task-oriented-dialogue", "github_patches"])
def test_words_that_only_start_like_an_access_token_are_not_masked(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize("key", ["token", "hf_token", "api_key", "secretAccessKey", "PASSWORD", "AWSSecret"])
def test_keys_that_name_a_secret_mask_their_value(key: str) -> None:
    assert names_a_secret(key)
    assert shown("abc", key=key) == "*** (text)"


@pytest.mark.parametrize("key", ["max_tokens", "special_tokens_in_rows", "tokenizer_config", "monkey"])
def test_keys_that_only_resemble_a_secret_do_not_mask_their_value(key: str) -> None:
    assert not names_a_secret(key)
