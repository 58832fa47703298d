"""Takes a running node to what its file says now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from wgvx.config import Config, ConfigError, mtu_warnings
from wgvx.engine import PeerInfo
from wgvx.node import Node
from wgvx.pump import clock
from wgvx.reload.plan import (
    AddEntry,
    AddPeer,
    DeleteEntry,
    Entry,
    GiveAllowedIps,
    Rebind,
    RemovePeer,
    Running,
    RunningPeer,
    SetNetwork,
    SetNode,
    SetPeer,
    SetPrivateKey,
    Step,
    TakeAllowedIps,
    make_plan,
)
from wgvx.underlay import UnderlayError
from wgvx.vxlan.fdb import Remote, State

log = logging.getLogger(__name__)


class Reloader:
    """Reloads one node, once at a time. ``change`` makes of its file the node as it is run, as when
    it was started; it may raise ConfigError. ``meanwhile`` is entered for as long as it takes."""

    def __init__(
        self,
        node: Node,
        change: Callable[[Config], Config] = lambda config: config,
        meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._node = node
        self._change = change
        self._meanwhile = meanwhile
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_due = False

    async def reload(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What was changed, in words, and what the file says that is hardly meant.

        Raises ConfigError for a file that cannot be used, UnderlayError for a port or a mark that
        the system refuses; then nothing was changed.
        """
        node = self._node
        async with self._turn:
            with self._meanwhile():
                new = self._change(await node.errands.load(node.config.path))
                if node.is_ending:
                    raise ConfigError(f"{new.path}: not read any more, as the node is ending")
                plan = make_plan(running(node), new)
                for step in plan.steps:
                    _take(node, step)
                node.engine.follow_peers()
                node.config = new
                node.settle()
        log.info("reloaded: %s", "; ".join(plan.summary) or "nothing has changed")
        warnings = dict.fromkeys((*new.warnings, *mtu_warnings(new, node.tunnel_mtu)))
        return plan.summary, tuple(warnings)

    def reload_soon(self) -> None:
        """The same for a signal, whose sender is told by the log. While one is read the file may
        change again: for all signals that come meanwhile it is read once more."""
        self._is_due = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._reload_and_log())

    async def _reload_and_log(self) -> None:
        while self._is_due:
            self._is_due = False
            try:
                _, warnings = await self.reload()
            except (ConfigError, UnderlayError) as error:
                log.error("not reloaded: %s", error)
            else:
                for warning in warnings:
                    log.warning("%s", warning)

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def running(node: Node) -> Running:
    """What a plan starts from."""
    engine = node.engine
    entries: dict[int, frozenset[Entry]] = {}
    own_macs: dict[int, frozenset[bytes]] = {}
    now = clock()
    for vni in engine.networks:
        rows = [row for row in node.dataplane.fdb_rows(vni, now) if row.age_seconds is None]
        entries[vni] = frozenset(
            (row.mac, row.where.vtep) for row in rows if isinstance(row.where, Remote)
        )
        own_macs[vni] = frozenset(row.mac for row in rows if row.state is State.LOCAL)
    return Running(
        config=node.config,
        public_key=engine.device.public_key,
        listen_port=node.listen_port,
        fwmark=node.fwmark,
        peers={info.public_key: _running_peer(node, info) for info in engine.peers.values()},
        entries=entries,
        own_macs=own_macs,
        looks_up_names=node.errands.looks_up_names,
    )


def _running_peer(node: Node, info: PeerInfo) -> RunningPeer:
    device = node.engine.device
    return RunningPeer(
        name=info.name,
        preshared_key=device.preshared_key(info.id),
        endpoint=info.endpoint_name,
        allowed_ips=tuple(node.dataplane.allowed_ips(info.id)),
        persistent_keepalive=device.persistent_keepalive(info.id),
    )


def _take(node: Node, step: Step) -> None:
    """One step. UnderlayError of the first kind alone."""
    engine, dataplane = node.engine, node.dataplane
    match step:
        case Rebind():
            node.rebind(step.listen_port, step.fwmark)
        case RemovePeer():
            engine.remove_peer(step.public_key)
        case SetPrivateKey():
            engine.set_private_key(step.private_key, clock())
        case SetNode():
            engine.set_node(step.node)
        case SetNetwork():
            engine.set_network(step.network, clock())
        case AddPeer():
            engine.add_peer(step.public_key)
        case SetPeer():
            _set_peer(node, step)
        case GiveAllowedIps():
            peer = engine.peers[step.public_key].id
            for prefix in step.prefixes:
                dataplane.remove_allowed_ip(peer, prefix)  # To be put behind the others.
                dataplane.add_allowed_ip(peer, prefix)
        case TakeAllowedIps():
            peer = engine.peers[step.public_key].id
            for prefix in step.prefixes:
                dataplane.remove_allowed_ip(peer, prefix)
        case AddEntry():
            dataplane.fdb_add(step.vni, *step.entry)
        case DeleteEntry():
            dataplane.fdb_delete(step.vni, *step.entry)


def _set_peer(node: Node, step: SetPeer) -> None:
    peer, device = step.peer, node.engine.device
    info = node.engine.peers[peer.public_key]
    if "name" in step.changed:
        info.name = peer.name
    if "preshared_key" in step.changed:
        device.set_preshared_key(info.id, peer.preshared_key)
    if "endpoint" in step.changed:
        node.set_endpoint_name(info, peer.endpoint)
    if "persistent_keepalive" in step.changed:
        device.set_persistent_keepalive(info.id, peer.persistent_keepalive, clock())
