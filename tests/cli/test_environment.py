"""Options of ``alien serve`` from environment variables: ``ALIEN_`` and the name of the option."""

import re
from pathlib import Path

import pytest
import typer

from aligned_entropy.cli.app import app
from fixtures.command_line import in_process

GUIDE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
COMMAND = typer.main.get_command(app).commands["serve"]
OPTIONS = [option for option in COMMAND.params if option.name != "help"]
OTHER_VARIABLES = {"ALIEN_CACHE", "ALIEN_DATA", "ALIEN_TRACEBACK", "ALIEN_NETWORK"}
VALUES = {
    "root_path": ("/a", "/a"),
    "forwarded_allow_ips": ("10.0.0.1,10.1.0.0/16", "10.0.0.1,10.1.0.0/16"),
    "cors_origin": ("https://a.org https://b.org", ["https://a.org", "https://b.org"]),
    "dtype": ("bfloat16", "bfloat16"),
    "task": ("token-classification", "token-classification"),
    "max_requests": ("77", 77),
    "store_texts": ("omit", "omit"),
    "review_share": ("0.77", 0.77),
}


def variable(option):
    return f"ALIEN_{option.name.upper()}"


def parsed(*arguments):
    return COMMAND.make_context("serve", list(arguments), **COMMAND.context_settings).params


def sample(option):
    """Value of a variable, and the value that the command gets from it."""
    if option.name in VALUES:
        return VALUES[option.name]
    if isinstance(option.default, bool):
        return ("false", False) if option.default else ("true", True)
    if isinstance(option.default, int | float) or option.name == "max_length":
        return "77", type(option.default or 0)(77)
    return "value", "value"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_has_a_variable(option, monkeypatch):
    text, value = sample(option)
    arguments = [] if option.name == "model" else ["model"]
    before = None if option.name == "model" else parsed(*arguments)[option.name]
    monkeypatch.setenv(variable(option), text)
    read = parsed(*arguments)[option.name]
    assert read != before
    assert (str(read) if isinstance(read, Path) else read) == value
    assert variable(option) not in OTHER_VARIABLES


def test_the_variables_stand_in_the_help_and_in_the_guide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    text = in_process("serve", "--help").output
    variables = {variable(option) for option in OPTIONS}
    assert {name for name in variables if name not in text} == set()
    names = [option.opts[0].removeprefix("--").replace("-", "_") for option in OPTIONS]
    assert {f"ALIEN_{name.upper()}" for name in names} == variables  # the rule of the guide
    examples = set(re.findall(r"\bALIEN_[A-Z_]+", GUIDE.split("## Environment variables")[1]))
    assert {"ALIEN_KEEP_DAYS", "ALIEN_MODEL"} < examples <= variables


def test_an_option_comes_before_its_variable(monkeypatch):
    monkeypatch.setenv("ALIEN_PORT", "7000")
    assert parsed("model", "--port", "7001")["port"] == 7001
    assert parsed("model")["port"] == 7000


def test_other_commands_read_no_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("ALIEN_SEED", "7")
    fit = typer.main.get_command(app).commands["fit"]
    context = fit.make_context("fit", ["model", "data", "-o", str(tmp_path / "head")], **fit.context_settings)
    assert context.params["seed"] == 0


@pytest.mark.parametrize("name", ["ALIEN_API_KEY", "ALIEN_ADMIN_KEY"])
def test_an_empty_key_is_refused(name, monkeypatch):
    monkeypatch.setenv(name, "")
    result = in_process("serve", "model", "--port", "0")
    assert (result.exit_code, f"the key {name} is empty: set a key, or" in " ".join(result.output.split())) == (2, True)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ALIEN_PORT", "tcp://10.0.0.1:8000", "Invalid value for '--port': 'tcp://10.0.0.1:8000' is refused"),
        ("ALIEN_ROOT_PATH", "alien", "write /alien"),
        ("ALIEN_FORWARDED_ALLOW_IPS", "10.0.0.1,proxy.local", "'proxy.local' is neither an IP address nor"),
        ("ALIEN_CORS_ORIGIN", "https://a.org/", "'https://a.org/' is no origin: write https://example.org"),
        ("ALIEN_CORS_ORIGIN", "a.org", "'a.org' is no origin"),
        ("ALIEN_UI", "perhaps", "Invalid value for '--ui': 'perhaps' is refused"),
        ("ALIEN_STORE", "", "--store is empty: write postgresql://"),
        ("ALIEN_STORE_TEXTS", "some", "Invalid value for '--store-texts': 'some' is not one of"),
    ],
)
def test_a_value_that_would_have_no_effect_is_refused(name, value, reason, monkeypatch):
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    result = in_process("serve", "model")
    assert (result.exit_code, reason in " ".join(result.output.split())) == (2, True), result.output
