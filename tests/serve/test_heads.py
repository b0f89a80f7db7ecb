"""Heads that are exchanged while the server runs."""

import asyncio
import hashlib
import json
import math
import shutil
from functools import partial

import pytest

from aligned_entropy import HeadMismatchError, UncertainClassifier
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.heads import ServedHead
from aligned_entropy.serve.server import Settings
from fixtures import sentiment
from fixtures.sentiment import named
from fixtures.serving import ADMIN, QUICK


def test_a_head_is_swapped_and_rolled_back(client, served_folder):
    first = client.get("/v1/head").json()
    assert first["previous"] is None
    assert first["rule"]["goal"]["coverage"] == 0.7
    other = client.post("/v1/head", json={"folder": str(served_folder / "other")}, headers=ADMIN).json()
    assert (other["previous"], other["rule"]) == (first["head"], None)
    (prediction,) = client.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"]
    assert (prediction["head"], prediction["accepted"]) == (other["head"], None)
    back = client.post("/v1/head/rollback", headers=ADMIN).json()
    assert (back["head"], back["previous"]) == (first["head"], other["head"])
    assert client.post("/v1/head/rollback").status_code == 401


def test_a_head_that_is_put_in_use_twice_can_be_rolled_back(client, served_folder):
    first = client.get("/v1/head").json()["head"]
    for _ in range(2):
        other = client.post("/v1/head", json={"folder": str(served_folder / "other")}, headers=ADMIN).json()
        assert other["previous"] == first != other["head"]
    assert client.post("/v1/head/rollback", headers=ADMIN).json()["head"] == first


def damage_weights(folder):
    path = folder / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def damage_numbers(folder):
    from safetensors.torch import load_file, save

    tensors = load_file(folder / "head.safetensors")
    content = save(
        {
            name: t * math.nan if name.startswith("error_model.") and t.is_floating_point() else t
            for name, t in tensors.items()
        }
    )
    (folder / "head.safetensors").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())  # the checksum is correct, the numbers are not
    (folder / "config.json").write_text(json.dumps(config | {"sha256": hashlib.sha256(content).hexdigest()}))


def damage_config(folder):
    (folder / "config.json").write_text("{}")


def delete(folder):
    shutil.rmtree(folder)


def replace_by_head_of_another_model(folder):
    torch_model = sentiment.encoder()
    torch_model.classifier.weight.data.neg_()
    torch_model.save_pretrained(folder / "model")
    sentiment.tokenizer().save_pretrained(folder / "model")
    other = UncertainClassifier.from_pretrained(folder / "model")
    other.fit(named(400, 2), config=QUICK)
    other.save_pretrained(folder)


@pytest.mark.parametrize(
    "damage", [damage_weights, damage_numbers, damage_config, delete, replace_by_head_of_another_model]
)
def test_a_damaged_head_is_refused_and_nothing_changes(client, served_folder, tmp_path, damage):
    shutil.copytree(served_folder / "other", tmp_path / "offered")
    damage(tmp_path / "offered")
    before = client.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"][0]
    response = client.post("/v1/head", json={"folder": str(tmp_path / "offered")}, headers=ADMIN)
    assert response.status_code == 409, response.text
    assert response.json()["detail"]
    after = client.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"][0]
    assert {k: v for k, v in after.items() if k != "id"} == {k: v for k, v in before.items() if k != "id"}
    assert client.get("/v1/head").json()["previous"] is None


def test_the_first_head_cannot_be_rolled_back(served_classifier, served_folder):
    with pytest.raises(HeadMismatchError, match="no previous head"):
        ServedHead(served_classifier, served_folder / "head").roll_back()


def test_many_clients_get_their_own_predictions_while_heads_are_exchanged(served_folder, served_classifier):
    other = UncertainClassifier.from_pretrained(served_folder / "model", head=served_folder / "other")
    app = create_app(served_classifier, served_folder / "head", Settings(batch=8))
    server = app.state.server
    texts = sorted(set(named(200, 13)["text"]))
    expected = {
        version: dict(zip(texts, classifier.predict(texts), strict=True))
        for version, classifier in (
            (server.head.version, served_classifier),
            (ServedHead(other, served_folder / "other").version, other),
        )
    }

    async def work():
        from httpx2 import ASGITransport, AsyncClient

        server.batcher.start()
        seen = set()
        async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:

            async def send(number):
                for step in range(4):
                    sent = [texts[(7 * number + step + i) % len(texts)] for i in range(1 + number % 3)]
                    predictions = (await client.post("/v1/predict", json={"texts": sent})).json()["predictions"]
                    assert len(predictions) == len(sent)
                    for text, prediction in zip(sent, predictions, strict=True):
                        row = expected[prediction["head"]][text]
                        assert prediction["uncertainty"] == pytest.approx(row.uncertainty, abs=1e-5)
                        assert (prediction["label"], prediction["accepted"]) == (row.label, row.accepted)
                        seen.add(prediction["head"])

            async def swap():
                for name in ("other", "head") * 3:
                    await asyncio.sleep(0.02)
                    await server.exchange_head(partial(server.head.replace, served_folder / name))

            await asyncio.gather(swap(), *(send(number) for number in range(40)))
        await server.batcher.close()
        return seen

    assert asyncio.run(work()) == set(expected)
