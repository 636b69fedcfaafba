"""Names, shapes and values of credentials, and what only looks like one."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import AssayError, ConfigError, ExecutionError, one_line, printable
from infrastructure.naming import tags
from infrastructure.redaction import (
    REDACTED,
    credential_fields,
    is_credential_name,
    redact_file,
    redacted,
    redacted_fields,
    remember_credentials,
    without_credentials,
)

NAMES = """
    token api_token HF_TOKEN hfToken token2 api_key API_KEY apiKey apikey api_key_2 OPENAI_API_KEY access_key AccountKey
    AWS_SECRET_ACCESS_KEY shared_access_key SharedAccessSignature private_key SSH_PRIVATE_KEY client_secret secrets
    password db_password PGPASSWORD passwd SMTP_PWD passphrase credential azure_credentials sas storage_sas
    connection_string connectionString conn_str MLFLOW_TRACKING_PASSWORD authorization authToken key params.key
    step__password
"""
OTHER_NAMES = """
    max_tokens tokenizer token_pattern token_ids tokens n_tokens tokens_column pad_token eos_token bos_token unk_token
    mask_token sep_token cls_token forced_bos_token next_page_token monkey turkey keys keyboard primary_key sort_key
    group_key study_key key_hash step__key secretary password_length author learning_rate sas_path
"""
VALUES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("Cs", "Cc", "Zs")),
    min_size=12,
    max_size=40,
).filter(lambda text: "***" not in text)


@pytest.mark.parametrize("name", NAMES.split())
def test_names_of_credentials(name: str) -> None:
    """These names are those of credentials: by their last words, however they are written."""
    assert is_credential_name(name)


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_other_names(name: str) -> None:
    """These names only resemble those of credentials."""
    assert not is_credential_name(name)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("at https://user:pa:ss@host/x", "at https://***@host/x"),
        ("https://user:p@ss/w@host/x", "https://***@host/x"),
        ("postgresql+psycopg://u:p@host/db", "postgresql+psycopg://***@host/db"),
        ("https://t0k3n@host", "https://***@host"),
        ("https://blob/x?sig=ab1", "https://blob/x?sig=***"),
        ("login failed: api_key=ab1", "login failed: api_key=***"),
        ("GET /blob?sv=1&sig=a%2Fb%3D&se=2", "GET /blob?sv=1&sig=***&se=2"),
        ("login(password=hunter, user=me)", "login(password=***, user=me)"),
        ("{'api_token': 'a b', 'max_tokens': 5}", "{'api_token': '***', 'max_tokens': 5}"),
        (r'{"password": "a\"b", "x": 1}', '{"password": "***", "x": 1}'),
        (r"{\"password\": \"ab\"}", r"{\"password\": \"***\"}"),
        ("db_password: hunter2!", "db_password: ***"),
        ("AccountName=n;AccountKey=Zm9v==;EndpointSuffix=c", "AccountName=n;AccountKey=***;EndpointSuffix=c"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("Authorization: Basic dXNlcjpw", "Authorization: Basic ***"),
        ("with Bearer 0123456789abcdef", "with Bearer ***"),
        ("key AKIAABCDEFGHIJKLMNOP here", "key *** here"),
        (f"ghp_{'a1' * 18}, github_pat_{'a_1' * 12}", "***, ***"),
        (f"hf_{'aB3' * 11}", "***"),
        ("sk-proj-A1b2C3d4E5f6G7h8I9j0", "***"),
        ("xoxb-123456789012-abcdef", "***"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.sgn-_x", "***"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----\nb", "a\n***\nb"),
    ],
)
def test_shapes_of_credentials(text: str, clean: str) -> None:
    """What has the shape of a credential is taken out, and nothing around it; a second time changes nothing."""
    assert redacted(text) == clean
    assert redacted(clean) == clean
    assert without_credentials({"text": text}) == {"text": clean}


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1@2",
        "abfss://container@account.dfs.core.windows.net/x",
        "models:/name@champion",
        "sqlite:////folder/a@b.db",
        "unexpected token: '}' at 3",
        "token=5 password=None secret=true",
        "write it as section.key=value, sorted(x, key=len)",
        "train.yaml:3 params.password: the environment variable X is not set",
        "KeyError: 'key'",
        "override train.params.token=***: nothing of that name",
        "sk-learn-contrib-imbalanced-data",
        "max_tokens=512 pad_token=[PAD]",
        "f" * 64,
    ],
)
def test_other_texts(text: str) -> None:
    """What only resembles a credential stays."""
    assert redacted(text) == text


@given(VALUES, st.text(max_size=30), st.text(max_size=30))
def test_remembered_values_are_found_however_they_are_written(value: str, before: str, after: str) -> None:
    """A value that stood under the name of a credential is taken out of texts: plain, in JSON, quoted, in base64."""
    remember_credentials({"deep": [{"api_token": value}]})
    raw = value.encode()
    for form in (value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe=""), quote_plus(value)):
        assert form not in redacted(before + form + after)
    for around in (b"", b"u", b"us"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            inside = encode(around + raw + b"xyz").decode()
            start = 4 if around else 0  # what the value alone decides
            assert inside[start : len(raw) * 4 // 3 - 4] not in redacted(before + inside)


@given(st.text(max_size=200))
def test_a_second_time_changes_nothing(text: str) -> None:
    """A text without credentials is its own redaction, so what is written twice is the same."""
    clean = redacted(text)
    assert redacted(clean) == clean


def test_weak_values_are_no_matter() -> None:
    """A short value, a plain word or a number isn't looked for in texts: it would be found where it means nothing."""
    remember_credentials({"a_token": "abc1", "b_token": "custom", "c_token": "123456", "d_token": "a1b2c3"})
    assert redacted("abc1 custom 0.123456 xa1b2c3x") == "abc1 custom 0.123456 xa1b2c3x"
    assert redacted("it is a1b2c3.") == "it is ***."


def test_passwords_in_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of an address or connection string in the environment is found elsewhere too; PWD is a folder."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:p%40ss-1234567@host/db")
    monkeypatch.setenv("STORAGE", "AccountName=n;AccountKey=c2VjcmV0LXZhbHVl==;x=1")
    monkeypatch.setenv("PWD", "/a/folder/of/mine")
    monkeypatch.setenv("LATE_TOKEN", "set-after-import-1")
    text = "p%40ss-1234567 p@ss-1234567 c2VjcmV0LXZhbHVl== set-after-import-1 /a/folder/of/mine"
    assert redacted(text) == "*** *** *** *** /a/folder/of/mine"


def test_documents_lose_texts_of_such_names_alone() -> None:
    """Under such a name every text is a credential, never a number; names of hyperparameters mean nothing."""
    document = {
        "params": {
            "api_token": "x",
            "token": 5,
            "secrets": {"one": ["a", 2]},
            "key": None,
            "lr": 0.1,
            "url": "s://u:p@h",
        },
        "search_space": {"token": {"type": "choice", "values": ["a"], "when": {"key": "b"}}},
    }
    clean = without_credentials(document)
    assert clean == {
        "params": {
            "api_token": REDACTED,
            "token": 5,
            "secrets": {"one": [REDACTED, 2]},
            "key": None,
            "lr": 0.1,
            "url": "s://***@h",
        },
        "search_space": document["search_space"],
    }
    assert credential_fields(document) == ["params.api_token", "params.secrets.one.0", "params.url"]
    assert credential_fields(clean) == []
    assert without_credentials(clean) == clean


def test_fields_go_by_their_names() -> None:
    """A run's parameter or tag with such a name is taken out whole, unless it is a number."""
    fields = {"api_token": "weak", "token": "5", "password": "1e-05", "note": "see https://u:p@h", "secret": "None"}
    assert redacted_fields(fields) == {**fields, "api_token": REDACTED, "note": "see https://***@h"}


def test_errors_hold_no_credential() -> None:
    """No message of ours does, and a long one isn't cut before it is looked at."""
    secret = "Pa55-word-of-the-test"
    remember_credentials({"password": secret})
    for error in (AssayError(f"a {secret}"), ExecutionError(f"b {secret}"), ConfigError([f"c {secret}"])):
        assert secret not in str(error)
    assert one_line(ValueError(f"no {secret}\nmore")) == "ValueError: no ***"
    long = printable("x" * 390 + secret + "x" * 500)
    assert secret[:10] not in long


def test_a_value_across_two_tags_is_found() -> None:
    """A long text is looked at before it is divided."""
    secret = "Pa55-word-of-another-test"
    remember_credentials({"password": secret})
    before = "x" * (tags.CHUNK - 5)
    assert tags.split_long("k", before + secret) == {"k": before + REDACTED, "k.parts": "1"}


def test_files_are_rewritten_whole(tmp_path: Path) -> None:
    """A log loses its credentials in one step and keeps every other byte, those that are no text included."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"\xff\x00 password=hunter2\r\nrest")
    redact_file(log)
    assert log.read_bytes() == b"\xff\x00 password=***\r\nrest"
    assert log.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["worker.log"]
    redact_file(tmp_path / "nothing")


def test_output_of_a_process(tmp_path: Path) -> None:
    """What a process prints, warns, logs, and its last traceback have none."""
    code = (
        "import logging, os, sys, warnings; from infrastructure.redaction import redact_output; redact_output();"
        "value = os.environ['MY_TOKEN']; print('print', value); logging.error('log %s', value);"
        "warnings.warn(value); sys.stderr.writelines([value, '\\n']);"
        "raise ValueError(f'raise {value}')"
    )
    environment = {"MY_TOKEN": "not-to-be-seen-1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "not-to-be-seen-1" not in done.stdout + done.stderr
    assert done.stdout == "print ***\n"
    assert done.stderr.splitlines()[0] == "ERROR:root:log ***"
    assert done.stderr.splitlines()[-1] == "ValueError: raise ***"


@pytest.mark.parametrize(
    "part", ["a", "://", "a://:", "x=", "token=", "token=a ", 'token="', "eyJ", "sk-", "token= ", "a.", '\\"']
)
def test_no_text_is_slow(part: str) -> None:
    """A text that is made to be slow takes no longer than another one; it would take minutes."""
    text = part * (200_000 // len(part))
    assert redacted(redacted(text)) == redacted(text)
