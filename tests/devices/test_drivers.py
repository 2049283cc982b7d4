"""What engines depend on is read from files of the system and installed packages; what is not there is None."""

import os

import pytest

from devices.drivers import drivers_of, installed_version, read_drivers
from devices.providers import CPU, OPENVINO, TENSORRT


@pytest.fixture
def root(tmp_path):
    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def none_installed(package):
    return None


def test_a_machine_without_an_accelerator_has_none_of_it(root):
    found = read_drivers(root({}), none_installed)
    assert set(found.values()) == {None}


def test_an_nvidia_machine_by_its_system_libraries(root):
    folder = root(
        {
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Module  580.95.05\nGCC 13\n",
            "usr/lib/x86_64-linux-gnu/libnvinfer.so.10": "",
            "usr/lib/x86_64-linux-gnu/libnvinfer.so.10.13.3": "",
            "usr/local/cuda/lib64/libcudart.so.12.6.77": "",
        }
    )
    assert drivers_of(TENSORRT, read_drivers(folder, none_installed)) == {
        "nvidia": "NVRM version: NVIDIA UNIX x86_64 Module  580.95.05",
        "jetson": None,
        "cuda": "libcudart.so.12.6.77",
        "tensorrt": "libnvinfer.so.10.13.3",
        "cudnn": None,
    }


def test_an_nvidia_machine_by_python_packages(root):
    packages = {"tensorrt-cu12": "10.13.3", "nvidia-cuda-runtime-cu12": "12.6.77"}
    found = read_drivers(root({}), packages.get)
    assert (found["tensorrt"], found["cuda"]) == ("tensorrt-cu12 10.13.3", "nvidia-cuda-runtime-cu12 12.6.77")


def test_a_jetson_says_its_release(root):
    folder = root({"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n"})
    assert drivers_of(TENSORRT, read_drivers(folder, none_installed))["jetson"] == "# R36 (release), REVISION: 4.3"


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"sys/module/i915/refcnt": "1"}, "i915 6.12.1"),
        ({"sys/module/i915/version": "1.0\n"}, "i915 1.0"),
        ({"sys/module/xe/refcnt": "1", "sys/module/i915/refcnt": "1"}, "xe 6.12.1"),
    ],
)
def test_intel_graphics_go_by_their_kernel_module(root, files, version):
    folder = root({"proc/sys/kernel/osrelease": "6.12.1\n", **files})
    assert drivers_of(OPENVINO, read_drivers(folder, none_installed))["intel-gpu"] == version


def test_a_library_whose_name_has_no_version_goes_by_size_and_time(root):
    name = "usr/lib/x86_64-linux-gnu/intel-opencl/libigdrcl.so"
    folder = root({name: "12345"})
    os.utime(folder / name, (1_700_000_000, 1_700_000_000))
    assert read_drivers(folder, none_installed)["compute-runtime"] == "libigdrcl.so 5 1700000000"


def test_another_kernel_changes_nothing_for_what_does_not_depend_on_it(root):
    before = drivers_of(TENSORRT, read_drivers(root({"proc/sys/kernel/osrelease": "6.12.1"}), none_installed))
    after = drivers_of(TENSORRT, read_drivers(root({"proc/sys/kernel/osrelease": "6.13.0"}), none_installed))
    assert before == after
    assert drivers_of(CPU, {"kernel": "6.12.1"}) == {}


def test_the_installed_packages_are_asked():
    assert installed_version("msgspec")
    assert installed_version("no-such-package-anywhere") is None
