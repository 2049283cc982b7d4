"""The probe: this machine, and machines made of kernel files."""

import json
import os
import subprocess
import sys

import msgspec
import pytest

from devices.accelerators import read_accelerators
from devices.cgroups import Limits, counts_memory, read_limits
from devices.probe import Probe, read_probe
from devices.runtime import Runtime, ask_runtime, identity_model, read_runtime
from protocols.enrolment import EnrolmentRequest

MB = 1024 * 1024
MEMINFO = "MemTotal:        4000000 kB\nMemFree: 1 kB\nMemAvailable:    3000000 kB\n"


def test_this_machine_is_what_the_system_says(tmp_path, runtime):
    probe = read_probe(tmp_path, runtime=runtime)
    assert probe.arch == os.uname().machine
    assert 1 <= probe.cores <= len(os.sched_getaffinity(0))
    assert 0 < probe.memory_free_bytes <= probe.memory_bytes
    assert probe.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert probe.disk_free_bytes > 0
    assert (probe.onnxruntime, probe.opset) == (runtime.version, runtime.opset)


def test_a_folder_that_is_not_there_yet_has_the_disk_of_its_parent(tmp_path, runtime):
    there = read_probe(tmp_path / "not" / "yet", runtime=runtime).disk_free_bytes
    assert there == pytest.approx(read_probe(tmp_path, runtime=runtime).disk_free_bytes, rel=0.05)


def test_a_raspberry_pi_is_known_by_its_device_tree(machine, runtime):
    features = "fp asimd evtstrm aes crc32 cpuid"
    root = machine(
        {
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\x00",
            "proc/cpuinfo": f"processor\t: 0\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
            "processor\t: 1\nFeatures\t: fp\n\nModel\t: Raspberry Pi\n",
            "proc/meminfo": MEMINFO,
            "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        }
    )
    probe = read_probe(root=root, runtime=runtime)
    assert (probe.board, probe.cpu) == ("Raspberry Pi 4 Model B Rev 1.5", "Arm Cortex-A72")
    assert probe.cpu_features == ("asimd",)
    assert (probe.memory_bytes, probe.memory_free_bytes) == (4_000_000 * 1024, 3_000_000 * 1024)
    assert probe.system == "Debian GNU/Linux 12 (bookworm)"


@pytest.mark.parametrize(
    ("cores", "name"),
    [
        (["model name\t: AMD EPYC"] * 2, "AMD EPYC"),
        (["CPU implementer\t: 0x41\nCPU part\t: 0xd0b"] * 4, "Arm Cortex-A76"),
        (
            ["CPU implementer\t: 0x41\nCPU part\t: 0xd03"] * 4 + ["CPU implementer\t: 0x41\nCPU part\t: 0xd09"] * 2,
            "Arm Cortex-A53 + Arm Cortex-A73",
        ),
        (["CPU implementer\t: 0x70\nCPU part\t: 0x662"], "maker 0x70 part 0x662"),
        (["CPU implementer\t: soon\nCPU part\t: 0x662"], os.uname().machine),
    ],
)
def test_a_processor_is_named_by_each_kind_of_its_cores(machine, runtime, cores, name):
    assert read_probe(root=machine({"proc/cpuinfo": "\n\n".join(cores)}), runtime=runtime).cpu == name


def test_a_container_on_a_board_learns_its_name_from_the_cores(machine, runtime):
    root = machine({"proc/cpuinfo": "processor\t: 0\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"})
    probe = read_probe(root=root, runtime=runtime)
    assert probe.board == probe.cpu == "Raspberry Pi 5 Model B Rev 1.0"


def test_a_machine_that_shows_nothing_is_still_probed(machine, runtime):
    probe = read_probe(root=machine({}), runtime=runtime)
    assert (probe.board, probe.memory_bytes, probe.cpu_features, probe.accelerators) == (None, 0, (), ())
    assert probe.cores >= 1


def test_a_probe_travels_in_an_enrolment_and_comes_back(pi):
    probe = pi(accelerators=("/dev/hailo0: Hailo",), runtime_fault=None)
    request = EnrolmentRequest("s", "d", "s", "raspberry-pi-4", "csr", probe.flat())
    wire = msgspec.json.decode(msgspec.json.encode(request), type=EnrolmentRequest)
    assert msgspec.convert(wire.probe, Probe) == probe


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, Limits()),
        ({"proc/self/cgroup": "0::/\n"}, Limits()),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/memory.max": f"{512 * MB}\n",
                "sys/fs/cgroup/memory.current": f"{100 * MB}\n",
            },
            Limits(1.5, 512 * MB, 100 * MB),
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "max 100000\n",
                "sys/fs/cgroup/memory.max": "max\n",
            },
            Limits(),
        ),
        (  # a unit inside a slice: the tighter of each counts
            {
                "proc/self/cgroup": "0::/plant.slice/genba.service\n",
                "sys/fs/cgroup/plant.slice/cpu.max": "100000 100000\n",
                "sys/fs/cgroup/plant.slice/genba.service/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/plant.slice/memory.max": f"{900 * MB}\n",
                "sys/fs/cgroup/plant.slice/genba.service/memory.max": f"{300 * MB}\n",
            },
            Limits(1.0, 300 * MB, 0),
        ),
        (  # version 1
            {
                "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/box\n",
                "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{200 * MB}\n",
                "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{50 * MB}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            Limits(0.5, 200 * MB, 50 * MB),
        ),
    ],
)
def test_a_containers_limits_are_found(machine, files, limits):
    assert read_limits(machine(files)) == limits


@pytest.mark.parametrize(
    ("files", "counted"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"}, True),
        ({"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n", "proc/cgroups": "memory\t0\t1\t1\n"}, False),
        ({"proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t43\t1\n"}, True),
        ({"proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n"}, False),
        ({"proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t1\t1\n"}, None),
    ],
)
def test_a_kernel_that_counts_no_memory_is_found(machine, runtime, files, counted):
    root = machine(files)
    assert counts_memory(root) is counted
    assert read_probe(root=root, runtime=runtime).memory_limits is counted


def test_a_containers_limits_bound_the_probe(machine, runtime):
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/meminfo": MEMINFO,
        "sys/fs/cgroup/cpu.max": "50000 100000",
        "sys/fs/cgroup/memory.max": str(512 * MB),
        "sys/fs/cgroup/memory.current": str(100 * MB),
    }
    probe = read_probe(root=machine(files), runtime=runtime)
    assert (probe.cores, probe.memory_bytes, probe.memory_free_bytes) == (1, 512 * MB, 412 * MB)


def test_accelerators_are_found_by_their_device_files(machine):
    root = machine(
        {
            "dev/nvidia0": "",
            "dev/nvidia1": "",
            "dev/nvidiactl": "",
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nDevice Minor: \t 0\n",
            "dev/dri/renderD128": "",
            "sys/class/drm/renderD128/device/vendor": "0x8086\n",
            "sys/class/drm/renderD128/device/uevent": "DRIVER=i915\nPCI_ID=8086:46A6\n",
            "dev/dri/card0": "",
            "dev/nvhost-gpu": "",
            "dev/accel/accel0": "",
            "dev/hailo0": "",
        }
    )
    assert read_accelerators(root) == (
        "/dev/accel/accel0: NPU",
        "/dev/dri/renderD128: Intel GPU i915",
        "/dev/hailo0: Hailo",
        "/dev/nvhost-gpu: NVIDIA Jetson GPU",
        "/dev/nvidia0: NVIDIA L4",
        "/dev/nvidia1: NVIDIA GPU",
    )


def test_the_installed_onnx_runtime_is_asked_in_a_child_process():
    before = "onnxruntime" in sys.modules
    found = ask_runtime()
    assert ("onnxruntime" in sys.modules) == before
    assert found.fault is None
    assert "CPUExecutionProvider" in found.providers
    assert found.opset >= 21
    assert found.opset_ml >= 3


def test_the_highest_opset_is_the_last_that_loads():
    import onnxruntime

    def loads(opsets: dict[str, int]) -> bool:
        try:
            onnxruntime.InferenceSession(identity_model(opsets), providers=["CPUExecutionProvider"])
        except Exception:
            return False
        return True

    found = read_runtime()
    assert loads({"ai.onnx": found.opset})
    assert not loads({"ai.onnx": found.opset + 1})
    assert loads({"ai.onnx.ml": found.opset_ml})
    assert not loads({"ai.onnx.ml": found.opset_ml + 1})


def test_the_hand_written_model_is_a_model():
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(identity_model({"ai.onnx.ml": 3}))
    onnx.checker.check_model(model)
    assert {imported.domain: imported.version for imported in model.opset_import} == {"": 13, "ai.onnx.ml": 3}


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("import os; os.abort()", "cannot be loaded: exit status -6"),
        (
            "raise ImportError('libcudnn.so.9 missing')",
            "cannot be loaded: ImportError: libcudnn.so.9 missing",
        ),
        ("import time; time.sleep(60)", "did not answer within 0.5 s"),
    ],
)
def test_a_runtime_that_kills_its_process_is_a_finding(monkeypatch, tmp_path, script, fault):
    """An interpreter stands in for one whose ONNX Runtime crashes, fails or hangs on being looked at."""
    broken = tmp_path / "python"
    broken.write_text(f"#!{sys.executable}\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    assert ask_runtime(timeout_s=0.5 if "sleep" in script else 30.0) == Runtime(fault=f"ONNX Runtime {fault}")


def test_without_onnx_runtime_the_extra_is_named():
    script = (
        "import sys, json; sys.modules['onnxruntime'] = None\n"
        "from devices.runtime import read_runtime; print(json.dumps([read_runtime().version, read_runtime().fault]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    version, fault = json.loads(done.stdout)
    assert version is None
    assert "pip install 'genba[cpu]'" in fault
