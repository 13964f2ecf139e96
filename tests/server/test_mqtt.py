"""A line that listens to a broker hears of inspections: Debian's mosquitto on a free port, with accounts."""

import contextlib
import json
import shutil
import socket
import subprocess
import time

import pytest
from sqlalchemy import select

from helpers.server_client import DEFECTIVE, GOOD, send
from vtadl.errors import ConfigError
from vtadl.server import webhooks
from vtadl.server.tables import Delivery, Webhook
from vtadl.server.webhooks import check_address, deliver_due, shown_address

mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="there is no mosquitto; apt-get install mosquitto")
SECONDS = 30


class Broker:
    """A broker in a folder that goes with it, which lets in one account."""

    def __init__(self, folder) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        passwords, self.config = folder / "passwords", folder / "mosquitto.conf"
        passwords.write_text("line:secret\n")
        passwords.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
        )
        self.process = None

    def start(self) -> None:
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@contextlib.contextmanager
def listening(broker):
    """What comes on the topic from now on."""
    got, ready = [], []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.username_pw_set("line", "secret")
    client.on_subscribe = lambda *_: ready.append(True)
    client.on_message = lambda _, __, message: got.append((message.topic, json.loads(message.payload)))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.subscribe("line/2/parts", qos=1)
    wait(lambda: ready)
    yield got
    client.disconnect()
    client.loop_stop()


def wait(done) -> None:
    deadline = time.monotonic() + SECONDS
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done()


@needs_broker
def test_a_broker_that_was_away_hears_of_each_inspection_once(client, broker, monkeypatch):
    monkeypatch.setattr(webhooks, "pause_ms", lambda tries: 0)
    address = "mqtt://line:secret@127.0.0.1:{}/line/2/parts"
    database = client.app.state.server.database
    with database.write() as session:
        session.add(Webhook(url=address.format(1), secret="", verdicts=[]))
    ids = [send(client, content).json()["inspections"][0]["id"] for content in (GOOD, DEFECTIVE)]

    def waiting():
        with database.read() as session:
            return session.scalars(select(Delivery)).all()

    wait(lambda: all(one.tries for one in waiting()))
    assert len(waiting()) == 2 and "refused" in waiting()[0].error
    broker.start()
    with listening(broker) as got:
        # Only now it is found: a broker drops what nobody has subscribed to.
        with database.write() as session:
            session.scalars(select(Webhook)).one().url = address.format(broker.port)
        wait(lambda: not waiting() and len(got) >= 2)
    assert sorted(content["inspection"]["id"] for _, content in got) == sorted(ids)
    assert {topic for topic, _ in got} == {"line/2/parts"}


@needs_broker
def test_a_broker_that_refuses_the_account_is_said(client, broker, monkeypatch):
    broker.start()
    monkeypatch.setattr(webhooks, "SECONDS", 3)
    database = client.app.state.server.database
    send(client, GOOD)
    with database.write() as session:
        session.add(Webhook(url=f"mqtt://line:wrong@127.0.0.1:{broker.port}/t", secret="", verdicts=[]))
    send(client, GOOD)

    def error():
        deliver_due(database)
        with database.read() as session:
            return session.scalars(select(Delivery.error)).one()

    wait(error)
    assert "uthor" in error()


@pytest.mark.parametrize(
    "url", ["mqtt://broker", "mqtt://broker/a/#", "mqtt:///topic", "ftp://x/y", "http://", "mqtt://x:port/t", "//x/y"]
)
def test_an_address_that_can_take_nothing_is_refused(url):
    with pytest.raises(ConfigError, match="expected"):
        check_address(url)


def test_a_password_is_not_shown():
    check_address("mqtts://line:a%20b@broker:8883/line/2")
    assert shown_address("mqtts://line:a%20b@broker:8883/line/2") == "mqtts://line:…@broker:8883/line/2"
    assert shown_address("https://x/y?z=1") == "https://x/y?z=1"
