"""docs/operations/hardware.md: what it has an operator write is taken, and what it quotes is what the agent says."""

import re
from pathlib import Path

import pytest
from simulators.small_models import CPU

from devices.profiles import list_profiles
from devices.providers import CUDA, KNOWN
from edge_agent.errors import FallbackError
from edge_agent.placement import Node, check_placement
from edge_agent.settings import AgentHome, Settings
from protocols.placement import describe_run


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs" / "operations" / "hardware.md").read_text()


def test_its_settings_are_taken(guide: str, tmp_path: Path) -> None:
    block = guide.partition("options of its own:\n\n")[2].partition("\n\nWithout that")[0]
    home = AgentHome(tmp_path)
    home.write_settings({"device": "press-1", "site": "osaka", "profile": "x86", "broker_url": "mqtt://127.0.0.1:1"})
    home.settings_path.write_text(home.settings_path.read_text() + re.sub(r"(?m)^    ", "", block))
    settings = home.settings()
    assert settings.providers == ("XnnpackExecutionProvider", CPU)
    assert settings.provider_options == {"OpenVINOExecutionProvider": {"device_type": "GPU"}}


def test_its_default_limit_of_a_build_is_the_settings(guide: str) -> None:
    given = Settings(device="a", site="b", profile="x86", broker_url="mqtt://127.0.0.1:1")
    assert f"`build_s` ({given.build_s:,.0f} s)" in guide


def test_its_profiles_are_there(guide: str) -> None:
    named = set(re.findall(r"profile `([a-z0-9-]+)`", guide))
    assert named
    assert named <= {profile.name for profile in list_profiles()}


def test_it_quotes_what_the_status_says(guide: str) -> None:
    assert (
        describe_run("OpenVINOExecutionProvider", "OpenVINOExecutionProvider", {"OpenVINOExecutionProvider": 4, CPU: 2})
        in guide
    )
    assert describe_run(CUDA, CPU, {CPU: 12}) in guide


def test_it_quotes_a_refused_fall_back(guide: str) -> None:
    operators = ("IsNaN", "Where", "IsNaN", "Where", "Concat")
    nodes = [*(Node(operator, "") for operator in operators), Node("Gemm", "/MatMulAddFusion")]
    with pytest.raises(FallbackError) as caught:
        check_placement({CPU: nodes}, CUDA, allow_fallback=False)
    assert str(caught.value) in " ".join(guide.split())


def test_every_provider_is_introduced(guide: str) -> None:
    for name in KNOWN:
        short = {"DmlExecutionProvider": "DirectML", "TensorrtExecutionProvider": "TensorRT"}.get(name, name)
        assert re.search(short.removesuffix("ExecutionProvider"), guide, re.IGNORECASE), name
