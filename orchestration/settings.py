"""Where things are and how big they may be: from GOVERN_* environment variables, a file, or defaults that just work.

What an operator *decides* (models, policies …) is the configuration (agents/configuration.py); these are the settings of
the machine it runs on. Every field can be set as `GOVERN_<FIELD>`; secrets are never printed.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agents.errors import Misconfigured

KIB, MIB = 1024, 1024 * 1024
DAY_MS = 86_400_000


class Settings(BaseSettings):
    """One deployment; `prefix` is the tenant: own topics, keys, store and transactional ids."""

    model_config = SettingsConfigDict(
        env_prefix="GOVERN_", env_file=".env", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")] = "gim"
    """Tenant: topics are `<prefix>.<name>`, transactional ids and groups start with it."""

    bootstrap_servers: str | None = None
    """`host:port,…` of an existing cluster; empty: a local Apache Kafka is started."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    """PEM file of the authority that signed the brokers' certificates; empty: the system's."""
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    data_dir: Path = Path("var")
    """Local broker data, logs, and what has no place of its own."""
    store: str = ""
    """Evidence: a folder or an fsspec URL; empty: `<data_dir>/evidence`."""
    archive: str = ""
    """Decision bytes for replays: a folder or an fsspec URL; empty: `<data_dir>/archive`."""
    profiles: str = ""
    """Profiles that decisions are compared with: a folder or an fsspec URL; empty: `<data_dir>/profiles`."""
    publish: str = ""
    """A second place for checkpoints, outside the operator's hands: a folder or an fsspec URL."""
    keys_dir: Path = Path("~/.config/governance-in-motion/keys")
    """Signing key, verifier key and salt key (`govern audit keygen`)."""

    partitions: Annotated[int, Field(ge=1, le=1000)] = 2
    """Partitions of decisions and of what is written beside it."""
    observation_partitions: Annotated[int, Field(ge=1, le=100)] = 1
    """Partitions of observations, and so assess lanes; a model lives in one of them."""
    replication: Annotated[int, Field(ge=1, le=9)] | None = None
    """Replicas of each topic; empty: 3, or as many as there are brokers."""
    max_record_bytes: Annotated[int, Field(ge=16 * KIB, le=64 * MIB)] = MIB
    """`max.message.bytes` of decisions; released, held, withheld and dead-letters take 64 KiB more."""
    retention_days: Annotated[float, Field(gt=0)] = 7
    """How long decisions, released, withheld and dead-letters are kept."""
    long_retention_days: Annotated[float, Field(gt=0)] = 3650
    """How long verdicts, flags, checkpoints and other records of what was done are kept in Kafka."""
    label_retention_days: Annotated[float, Field(gt=0)] = 180
    """How long outcomes and cases are kept in Kafka: at least until labels are mature."""
    replay_retention_days: Annotated[float, Field(gt=0)] = 90
    """How long decision bytes stay in the archive."""

    batch_records: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """A policy transaction takes at most so many decisions …"""
    batch_age_ms: Annotated[int, Field(ge=0, le=10_000)] = 0
    """… and waits at most so long for more once it has one (0: takes what is there)."""
    audit_interval_ms: Annotated[int, Field(ge=1_000)] = 5_000
    """Age of an audit batch: a log gets at most one checkpoint in this time."""
    monitor_interval_ms: Annotated[int, Field(ge=0, le=10_000)] = 200
    """A monitor lane waits so long for more once it has a record, so that it writes few transactions."""
    snapshot_interval_ms: Annotated[int, Field(ge=100)] = 5_000
    transaction_timeout_ms: Annotated[int, Field(ge=10_000, le=15_000)] = 15_000
    """After this the broker aborts a silent lane's transaction, so that readers go on."""

    ray_address: str | None = None
    """An existing Ray cluster; empty: a local one."""

    console: bool = True
    """Whether `govern up` starts the console."""
    console_host: str = "127.0.0.1"
    """Address that the console listens on. Without an account it is loopback, whatever stands here."""
    console_port: Annotated[int, Field(ge=1, le=65_535)] = 8088
    console_hosts: str = ""
    """Further `host` or `host:port`, comma-separated, under which the console is reached by https."""
    console_tls_cert: Path | None = None
    """PEM file of the console's certificate; empty: plain http, on loopback or behind a proxy."""
    console_tls_key: Path | None = None
    console_proxies: str = ""
    """Addresses of trusted proxies, comma-separated; only they may say who somebody is, or where a request came from."""
    console_proxy_header: str = ""
    """Header in which these proxies name the signed-in person (`x-forwarded-user`); empty: none is believed."""
    accounts: SecretStr = SecretStr("")
    """Database of accounts and sessions: an SQLAlchemy URL; empty: SQLite in `<data_dir>/console/accounts.db`."""
    oidc_issuer: str = ""
    """OpenID Connect: the provider's issuer URL, for example https://login.example.com; empty: none."""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr | None = None
    read_model: SecretStr = SecretStr("")
    """What pages and commands read: `postgresql+pg8000://…`; empty: SQLite in `<data_dir>/console`. It rebuilds itself."""

    @field_validator("data_dir", "keys_dir", mode="after")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @property
    def store_url(self) -> str:
        return self.store or str(self.data_dir / "evidence")

    @property
    def archive_url(self) -> str:
        return self.archive or str(self.data_dir / "archive")

    @property
    def profiles_url(self) -> str:
        return self.profiles or str(self.data_dir / "profiles")

    @property
    def output_bytes(self) -> int:
        """Largest record batch a lane writes: the largest decision with our headers."""
        return self.max_record_bytes + 64 * KIB

    def topic(self, short: str) -> str:
        """The Kafka name of a topic of the design.

        >>> Settings(prefix="bank").topic("verdicts")
        'bank.verdicts'
        """
        return f"{self.prefix}.{short}"

    def client(self) -> dict[str, Any]:
        """Arguments that every aiokafka client takes: where the brokers are and how to prove who we are.

        Raises Misconfigured where a needed setting is missing or a file cannot be read.
        """
        if not self.bootstrap_servers:
            raise Misconfigured(
                "no brokers: set GOVERN_BOOTSTRAP_SERVERS, or start the local one with `govern kafka start`"
            )
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol in ("SSL", "SASL_SSL"):
            options["ssl_context"] = self._ssl()
        if self.security_protocol.startswith("SASL"):
            if not self.sasl_username or self.sasl_password is None:
                raise Misconfigured("SASL needs GOVERN_SASL_USERNAME and GOVERN_SASL_PASSWORD")
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        return options

    def _ssl(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(self.ssl_cafile) if self.ssl_cafile else None)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(
                f"cannot read the TLS files ({error}); check GOVERN_SSL_CAFILE, GOVERN_SSL_CERTFILE, GOVERN_SSL_KEYFILE"
            ) from error
        return context
