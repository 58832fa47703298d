"""OpenVPN between two TAPs, ChaCha20-Poly1305, without its kernel module."""

from __future__ import annotations

from pathlib import Path

from benchmarks.compare.contenders.base import OVERLAY_MTU, Contender
from benchmarks.compare.lab import Host
from benchmarks.compare.obtain import debian, debian_version
from benchmarks.compare.processes import run


class OpenVpn(Contender):
    """openvpn at both ends, each knowing the other's certificate by its fingerprint."""

    name = "openvpn"
    title = "OpenVPN (tap, ChaCha20-Poly1305)"

    def prepare(self) -> str:
        self.program = debian("openvpn", "openvpn")
        debian("openssl", "openssl")
        return debian_version("openvpn")

    def start(self) -> None:
        prints = {host.label: self._certify(host) for host in self.ends}
        for host, other in self.pairs:
            device = self.device(host)
            role = ("--tls-server", "--dh", "none") if host is self.lab.a else ("--tls-client",)
            self.run_daemon(
                host,
                *(self.program, "--dev", device, "--dev-type", "tap", "--disable-dco", *role),
                *("--proto", "udp4", "--local", host.addresses[other.label]),
                *("--lport", str(self.port), "--rport", str(self.port)),
                *("--remote", other.addresses[host.label]),
                *("--cert", str(self._file(host, "crt")), "--key", str(self._file(host, "key"))),
                *("--peer-fingerprint", prints[other.label]),
                *("--data-ciphers", "CHACHA20-POLY1305", "--cipher", "CHACHA20-POLY1305"),
                *("--tun-mtu", str(OVERLAY_MTU), "--auth-nocache", "--verb", "3"),
            )
            host.give(device, self.address(host), OVERLAY_MTU)

    def _file(self, host: Host, suffix: str) -> Path:
        return self.lab.folder / f"openvpn-{host.label}.{suffix}"

    def _certify(self, host: Host) -> str:
        """A key and a certificate of its own; the certificate's fingerprint."""
        key, certificate = str(self._file(host, "key")), str(self._file(host, "crt"))
        self._file(host, "key").touch(0o600)
        run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate),
            *("-days", "30", "-subj", f"/CN={host.label}"),
        )
        text = run("openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256")
        return text.partition("=")[2].strip()
