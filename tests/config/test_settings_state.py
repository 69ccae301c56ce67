"""Where state may be kept."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings, _conflicts, read_settings


def test_state_may_be_kept_in_a_file_that_is_there_or_not(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert read_settings({"XERO_PROXY_STATE_FILE": str(path)}).state_file == str(path)
    path.touch()
    assert read_settings({"XERO_PROXY_STATE_FILE": str(path)}).state_file == str(path)


def test_two_places_for_the_limits_contradict_each_other(tmp_path: Path) -> None:
    settings = Settings(state_file=str(tmp_path / "state.db"), redis_url="redis://h")
    ((keys, sentence),) = _conflicts(settings)
    assert keys == {"state_file", "redis_url"}
    assert "XERO_PROXY_STATE_FILE and XERO_PROXY_REDIS_URL must not both be given" in sentence
