"""Certificates made for one test: an authority, and whom it vouches for."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SINCE = datetime(2020, 1, 1, tzinfo=UTC)
UNTIL = datetime(2070, 1, 1, tzinfo=UTC)
SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


LOCALHOST = Path(__file__).with_name("localhost.pem")
"""Self-signed for localhost, with its key: for tests, and good for nothing else."""


def server_tls(certificate: Path = LOCALHOST) -> ssl.SSLContext:
    """A server that shows a certificate, whose key is in the same file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@dataclass
class Authority:
    """Vouches for names; `pem` is its own certificate."""

    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        constraint = x509.BasicConstraints(ca=True, path_length=0)
        self.certificate = self._signed(self.name, self.key, (constraint, True), (SIGNS, True))
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, folder: Path, name: str = "localhost", until: datetime = UNTIL) -> tuple[str, str]:
        """The files of a certificate for `name` and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        made = self._signed(name, key, (names, False), until=until)
        chain, secret = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(chain), str(secret)

    def file(self, folder: Path) -> str:
        """The file of its own certificate."""
        path = folder / f"{self.name}.ca.pem"
        path.write_bytes(self.pem)
        return str(path)

    def trusted(self, shows: tuple[str, str] | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, and shows a certificate where it has one."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if shows is not None:
            context.load_cert_chain(*shows)
        return context

    def _signed(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        *extensions: tuple[x509.ExtensionType, bool],
        until: datetime = UNTIL,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(SINCE)
            .not_valid_after(until)
        )
        of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        of_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        for extension, critical in (*extensions, (of_authority, False), (of_key, False)):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())
