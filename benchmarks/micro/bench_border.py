"""The border between Python and a data plane: what a call costs that moves nothing.

For the native data plane that is cffi and the making of what is handed back; the reference, which
has no border, shows what the same call costs in Python.
"""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from tests.dataplane.rig import PORT, VNI, Rig, mac, tunnel
from tests.support.dataplanes import DataPlaneClass


def test_receive_nothing(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class)
    benchmark(rig.dataplane.receive, [], rig.now)


def test_transmit_nothing(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class)
    benchmark(rig.dataplane.transmit, PORT, [], rig.now)


def test_read_counters(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    """What ``wgvx show`` asks of a data plane with one peer."""
    rig = Rig(dataplane_class)

    def read() -> None:
        rig.dataplane.drops()
        rig.dataplane.peer_counters(2)
        rig.dataplane.network_counters(VNI)

    benchmark(read)


def test_edit_a_table(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    """An entry of the forwarding database, put in and taken out."""
    rig = Rig(dataplane_class)

    def edit() -> None:
        rig.dataplane.fdb_add(VNI, mac(9), tunnel(2))
        rig.dataplane.fdb_delete(VNI, mac(9))

    benchmark(edit)


def test_install_keys(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    """What a handshake leaves in the data plane at its end."""
    rig = Rig(dataplane_class)
    _, keys = rig.peer.new_session(initiator=False, now=rig.now)
    benchmark(
        rig.dataplane.install,
        2,
        local_index=7,
        remote_index=8,
        keys=keys,
        initiator=True,
        now=rig.now,
    )
