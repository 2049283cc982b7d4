"""Workers of a Dask cluster: what is particular to them."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from simulators import trial_calls
from simulators.call_watch import appeared, begun, end, ends, gone

from trainer.errors import RequestError, WorkersLostError
from trainer.workers import LocalWorkers, Nursery, open_workers
from trainer.workers.cluster_address import check_encrypted, read_address
from trainer.workers.versions import differences, versions

pytest.importorskip("distributed", reason="Dask is not installed (pip install 'genba[dask]')")

from dask import config as settings

from trainer.workers.cluster import DaskWorkers

pytestmark = pytest.mark.slow

MEMORY = 256 * 2**20

CLIENT = """
import sys
from simulators import trial_calls
from trainer.workers.cluster import DaskWorkers
workers = DaskWorkers(sys.argv[1], dict, 2**28, ["numpy"])
workers.start(trial_calls.wait, 300, sys.argv[2])
workers.wait(300)
"""


def test_the_files_of_the_material_are_copied_and_taken_away(cluster, material):
    assert cluster.address
    with DaskWorkers(str(cluster.file), material, MEMORY, ["numpy"]) as workers:
        workers.start(trial_calls.add, 1)
        assert end(workers).value == 11
        copies = list(cluster.folder.rglob("genba-*/parts/values.npy"))
        assert len(copies) == 2
    assert not list(cluster.folder.rglob("values.npy"))


def test_a_run_asks_for_a_cluster_by_its_address(cluster, material):
    nursery = Nursery([])
    with open_workers(material, nursery=nursery, memory_bytes=MEMORY, dask=cluster.address) as workers:
        workers.start(trial_calls.add, 1)
        assert end(workers).value == 11
    assert nursery._process.poll() is not None
    with open_workers(material, size=1, memory_bytes=MEMORY) as workers:
        assert isinstance(workers, LocalWorkers)


@pytest.mark.sample
def test_a_scheduler_that_dies_ends_the_next_wait(own_cluster, material, tmp_path):
    cluster = own_cluster()
    with DaskWorkers(cluster.address, material, MEMORY, ["numpy"]) as workers:
        workers.start(trial_calls.wait, 300, str(tmp_path / "pid"))
        pid = int(begun(workers, tmp_path / "pid"))
        cluster.scheduler.kill()
        began = time.monotonic()
        with pytest.raises(WorkersLostError, match=r"the Dask scheduler at tcp://127.0.0.1:\d+ is gone"):
            ends(workers)
        with pytest.raises(WorkersLostError, match="is gone"):
            workers.start(trial_calls.process)
        workers.close()
        assert time.monotonic() - began < 10
    assert gone(pid, within_s=20), cluster.log


def test_a_call_whose_dask_worker_dies_runs_again_elsewhere(own_cluster, material, tmp_path):
    cluster = own_cluster()
    with DaskWorkers(cluster.address, material, MEMORY, ["numpy"]) as workers:
        ticket = workers.start(trial_calls.wait, 2, str(tmp_path / "pid"))
        pid = int(begun(workers, tmp_path / "pid"))
        children = {child.pid: child for child in cluster.workers}
        parent = grandparent(pid)
        (tmp_path / "pid").unlink()
        children[parent].kill()
        begun(workers, tmp_path / "pid")
        assert gone(pid)
        assert ends(workers)[ticket].value == 2


def test_a_call_that_kills_each_dask_worker_is_a_failure(own_cluster, material, tmp_path):
    cluster = own_cluster(workers=3)
    with DaskWorkers(cluster.address, material, MEMORY, ["numpy"]) as workers:
        ticket = workers.start(trial_calls.kill_grandparent)
        ended = ends(workers, within_s=60)[ticket]
        assert ended.failure.kind == "died"
        assert ended.failure.text.startswith("each Dask worker that ran it died")
        workers.start(trial_calls.add, 1)
        assert end(workers).value == 11


def test_a_worker_that_comes_later_takes_part(own_cluster, material):
    cluster = own_cluster(workers=1)
    with DaskWorkers(cluster.address, material, MEMORY, ["numpy"]) as workers:
        assert workers.size == 1
        cluster.workers.append(cluster.add_worker())
        over_at = time.monotonic() + 40
        while workers.size < 2:
            assert time.monotonic() < over_at, cluster.log
            workers.wait(0.2)
        for _ in range(4):
            workers.start(trial_calls.wait_and_tell, 0.3)
        assert len({ended.value for ended in ends(workers, 4).values()}) == 2


def test_a_cluster_without_workers_is_given_up(own_cluster, monkeypatch):
    monkeypatch.setattr("trainer.workers.cluster.CONNECT_S", 1)
    monkeypatch.setattr("trainer.workers.cluster.PATIENCE_S", 1)
    cluster = own_cluster(workers=0)
    with pytest.raises(WorkersLostError, match=r"has no worker: start one with `dask worker tcp://"):
        DaskWorkers(cluster.address)
    monkeypatch.setattr("trainer.workers.cluster.CONNECT_S", 30)
    cluster.workers.append(cluster.add_worker())
    with DaskWorkers(cluster.address, None, MEMORY, []) as workers:
        cluster.workers[0].kill()
        workers.start(trial_calls.process, None)
        with pytest.raises(WorkersLostError, match="has had no worker for 1 s"):
            ends(workers)


def test_no_scheduler_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("trainer.workers.cluster.CONNECT_S", 0.5)
    with pytest.raises(WorkersLostError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        DaskWorkers("127.0.0.1:1")


def test_a_worker_with_other_versions_is_refused_and_named(cluster, monkeypatch):
    monkeypatch.setattr("trainer.workers.cluster.versions", lambda: {**versions(), "scikit-learn": "0.1"})
    with pytest.raises(WorkersLostError, match=r"Dask worker tcp://\S+ has scikit-learn \S+ instead of 0\.1"):
        DaskWorkers(cluster.address, None, MEMORY, [])


def test_a_worker_without_genba_is_refused(own_cluster, tmp_path):
    cluster = own_cluster(workers=0)
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("raise ModuleNotFoundError('No module named trainer')\n")
    cluster.workers.append(cluster.add_worker({"PYTHONPATH": str(tmp_path)}))
    with pytest.raises(WorkersLostError, match=r"cannot be used: .*No module named trainer.*genba\[trainer,dask\]"):
        DaskWorkers(cluster.address, None, MEMORY, [])


def test_material_that_cannot_be_loaded_ends_the_run(cluster):
    with DaskWorkers(cluster.address, trial_calls.fail_to_load, MEMORY, []) as workers:
        workers.start(trial_calls.process)
        with pytest.raises(WorkersLostError, match="no such material"):
            ends(workers)


def test_a_client_that_is_killed_leaves_no_call_running(cluster, root, tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    child = subprocess.Popen([sys.executable, "-c", CLIENT, cluster.address, str(tmp_path / "pid")], env=environment)
    try:
        pid = int(appeared(tmp_path / "pid", within_s=40))
    finally:
        child.kill()
        child.wait()
    assert gone(pid, within_s=20)


def test_a_cluster_behind_tls_is_reached_by_dasks_own_settings(own_cluster, tmp_path):
    certificate = self_signed(tmp_path)
    options = ("--protocol", "tls", "--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", certificate)
    cluster = own_cluster(workers=1, options=options)
    assert cluster.address.startswith("tls://")
    with pytest.raises(WorkersLostError, match="no Dask scheduler answers at tls://"):
        DaskWorkers(cluster.address, None, MEMORY, [])
    tls = {"ca-file": certificate, "client.cert": certificate, "client.key": certificate}
    told = {f"distributed.comm.tls.{name}": value for name, value in tls.items()}
    with settings.set(told), DaskWorkers(cluster.address, dict, MEMORY, []) as workers:
        workers.start(trial_calls.process)
        assert end(workers).value != os.getpid()


def self_signed(folder) -> str:
    """A key and its certificate in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dask")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "dask.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(private + certificate.public_bytes(pem))
    return str(path)


def test_versions_that_differ_are_told_by_name():
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == "b 3 instead of 2, c 4 instead of none"
    assert differences(versions(), versions()) == ""
    assert {"Python", "genba", "scikit-learn"} <= versions().keys()


def test_an_address_or_a_scheduler_file_is_taken(tmp_path):
    assert read_address("tls://10.0.0.5:8786") == "tls://10.0.0.5:8786"
    assert read_address("10.0.0.5:8786") == "tcp://10.0.0.5:8786"
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": "tls://plant:8786"}))
    assert read_address(str(tmp_path / "scheduler.json")) == "tls://plant:8786"
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(RequestError, match="is no scheduler file"):
        read_address(str(tmp_path / "other.json"))
    with pytest.raises(RequestError, match=r"neither an address such as tls://10.0.0.5:8786 nor a scheduler file"):
        read_address("nothing/here")


@pytest.mark.parametrize("address", ["tcp://10.0.0.5:8786", "tcp://plant.example:1", "ws://10.0.0.5:1", "ucx://a:1"])
def test_calls_do_not_travel_in_the_clear_beyond_this_machine(address):
    with pytest.raises(RequestError, match=r"is not encrypted.*--dask-insecure"):
        check_encrypted(address, insecure=False)
    with pytest.raises(RequestError, match="is not encrypted"):
        DaskWorkers(address)
    check_encrypted(address, insecure=True)


@pytest.mark.parametrize("address", ["tls://10.0.0.5:1", "tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1"])
def test_loopback_and_tls_are_taken(address):
    check_encrypted(address, insecure=False)


def grandparent(pid: int) -> int:
    """A call's process -> its nursery -> the Dask worker."""
    return trial_calls.parent(trial_calls.parent(pid))
