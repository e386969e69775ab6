"""Throw-away certificates for the TLS tests: an authority, a server, a client, a stranger."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """Paths of PEM files: a certificate, its key, and the authority that signed it."""

    certificate: str
    key: str
    authority: str


@dataclass(frozen=True)
class Certificates:
    """One of each. ``wrong_authority`` is the path of an authority that signed none of them."""

    server: Certificate
    client: Certificate
    wrong_authority: str

    @property
    def authority(self) -> str:
        """The path of the authority's certificate: what a client is told to trust."""
        return self.server.authority

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Write new ones, valid for a day, into ``directory``."""
        authority = _Authority(directory, "authority")
        stranger = _Authority(directory, "stranger")
        return cls(
            server=authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH),
            client=authority.issue("client", ExtendedKeyUsageOID.CLIENT_AUTH),
            wrong_authority=stranger.path,
        )


class _Authority:
    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"frk test {name}")])
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(self._name, self._name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = _write(directory / f"{name}.crt", _pem(certificate))

    def issue(self, name: str, usage: x509.ObjectIdentifier) -> Certificate:
        """A certificate for localhost and 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"frk test {name}")])
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(subject, self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Certificate(
            certificate=_write(self._directory / f"{name}.crt", _pem(certificate)),
            key=_write(self._directory / f"{name}.key", secret),
            authority=self.path,
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)
