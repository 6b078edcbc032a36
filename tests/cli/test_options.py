"""Options and TOML files: how arms are split, which keys there are, what wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.cli.compare import KEYS, merged, read_config, split_arms
from firstlight.errors import ArgumentError, UnknownNameError

ARM = st.sampled_from(["torch", "he_normal", "normal(std=0.01)", "uniform(low=-0.1, high=0.2)", "pretrained(a,b.st)"])


@given(st.lists(ARM, min_size=1, max_size=6))
def test_arms_joined_by_commas_come_apart_again(arms: list[str]) -> None:
    assert split_arms(",".join(arms)) == arms
    assert split_arms([" , ".join(arms)]) == arms
    assert split_arms(arms) == arms


@pytest.mark.parametrize("text", ["", ",", " , ,"])
def test_nothing_is_no_arm(text: str) -> None:
    assert split_arms(text) == []


@pytest.mark.parametrize("text", ["normal(std=0.1", "a)b,c", "((a,b"])
def test_unbalanced_parentheses_lose_no_letter(text: str) -> None:
    # What cannot be split goes on as it stands: the scheme's parser says what is wrong with it.
    assert ",".join(split_arms(text)) == text


def test_the_command_line_wins_and_replaces_the_other_way_to_say_it() -> None:
    file = {"network": "cnn", "steps": 10, "seeds": 3}
    assert merged(file, {"seeds": 5}) == {"network": "cnn", "steps": 10, "seeds": 5}
    assert merged(file, {"model": "a.py:b", "epochs": 2.0}) == {"seeds": 3, "model": "a.py:b", "epochs": 2.0}


def config(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_every_option_can_stand_in_a_file(tmp_path: Path) -> None:
    text = """
    network = "cnn"
    data = "digits"
    arms = ["torch", "normal(std=0.1)"]
    rule = ["Norm.weight=fl.Ones()"]
    lr = [0.01, 1]
    seeds = 3
    epochs = 2
    batch-size = 16
    fresh = true
    """
    read = read_config(config(tmp_path, text))
    assert read["batch_size"] == 16
    assert read["arms"] == ["torch", "normal(std=0.1)"]
    assert set(read) <= set(KEYS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = three", "no TOML"),
        ("seeds = 'three'", "seeds = 'three'.*int"),
        ("seeds = true", "seeds = True.*int"),
        ("target = '0.9'", "target.*float"),
        ("fresh = 1", "fresh.*bool"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        read_config(config(tmp_path, text))


def test_an_unknown_key_shows_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'sedes'.*Did you mean seeds"):
        read_config(config(tmp_path, "sedes = 3"))


def test_a_folder_or_bytes_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot read"):
        read_config(tmp_path)
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ArgumentError, match="no TOML"):
        read_config(path)
