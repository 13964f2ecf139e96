"""Telling an MQTT broker: ``mqtt://[NAME:PASSWORD@]HOST[:PORT]/TOPIC``, or ``mqtts://`` over TLS."""

from typing import Any
from urllib.parse import SplitResult, unquote

from vtadl.errors import ConfigError, optional

PORTS = {"mqtt": 1883, "mqtts": 8883}
AT_LEAST_ONCE = 1


def check_broker(address: SplitResult) -> None:
    """Refuse an address that can never take a message.

    Raises:
        ConfigError: it names no topic, or one with a wildcard.
        DependencyError: paho-mqtt is not installed.
    """
    topic = _topic(address)
    if not topic or set(topic) & set("+#\0"):
        raise ConfigError(f"'{topic}' is no topic to publish to; expected mqtt://HOST/TOPIC without + and #")
    _paho()


def publish(address: SplitResult, body: bytes, seconds: float) -> None:
    """Publish a message, and wait until the broker has acknowledged it.

    Args:
        address: of the broker, with the topic as its path.
        body: the message.
        seconds: how long to wait for the connection, and for the acknowledgement.

    Raises:
        OSError: the broker cannot be reached, refuses, or does not acknowledge.
    """
    mqtt = _paho()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.connect_timeout = seconds
    refusals: list[str] = []
    client.on_connect = lambda _, __, ___, reason, ____: refusals.append(str(reason)) if reason.is_failure else None
    if address.username:
        client.username_pw_set(unquote(address.username), unquote(address.password or ""))
    if address.scheme == "mqtts":
        client.tls_set()
    client.connect(address.hostname or "", address.port or PORTS[address.scheme])
    client.loop_start()
    try:
        sent = client.publish(_topic(address), body, qos=AT_LEAST_ONCE)
        sent.wait_for_publish(seconds)
        acknowledged = sent.is_published()
    except (RuntimeError, ValueError) as error:  # It never got as far as the broker.
        raise OSError(refusals[0] if refusals else str(error)) from error
    finally:
        client.disconnect()
        client.loop_stop()
    if not acknowledged:
        raise OSError(refusals[0] if refusals else f"no acknowledgement within {seconds:g} s")


def _topic(address: SplitResult) -> str:
    return unquote(address.path.removeprefix("/"))


def _paho() -> Any:
    with optional("mqtt://", "mqtt"):
        from paho.mqtt import client
    return client
