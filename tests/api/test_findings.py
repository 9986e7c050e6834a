"""A finding is computed by the server, never changed, opened without the model, and can be computed again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.commands.feature import Spec, read_specs, request
from backend.schemas.findings import FindingRecord
from backend.services import sentences
from backend.settings import FEATURED
from tests.conftest import Open, wait_for_engine
from tests.factories import KOBE, SITES, WOODS, FakeAblator, hand_artifact
from workers.spd.queries import AblationQuery

KEY = f"{SITES[0]}:0"


def asked(**changes: Any) -> dict[str, Any]:
    ablation = {"text": WOODS, "components": [{"key": KEY}], "watch": [" golf"], "top_k": 3}
    return {
        "decomposition": "tiny",
        "title": "Wöods & <b>golf</b>",
        "claim": "golf falls",
        "notes": "Look: **bold**",
        "ablations": [ablation, {**ablation, "text": KOBE}],
        "groups": ["␣Woods"],
        **changes,
    }


@pytest.fixture
def own(home: Path, open_app: Open) -> TestClient:
    """A client over a home of its own, so that a test may write."""
    hand_artifact(home / "artifacts")
    client = open_app(home)
    wait_for_engine(client)
    return client


def test_a_finding_holds_the_servers_numbers_and_what_they_come_from(own: TestClient) -> None:
    answer = own.post("/api/findings", json=asked())
    assert answer.status_code == 201
    made = answer.json()
    assert made["url"] == f"/f/{made['slug']}"
    assert made["slug"].startswith("woods-b-golf-b-")
    assert made["summary"][0] == f"“{WOODS}”: “␣golf” falls to 25.0 % (from 50.0 %)."
    assert made["focus"] == [5, 6]
    first = made["results"][0]
    assert first["request"]["text"] is None
    assert first["request"]["token_ids"] == [token["id"] for token in first["result"]["tokens"]]
    assert first["importances"]["source"] == "live"
    assert (first["trust"]["level"], first["trust"]["kl"], first["trust"]["kl_off"]) == ("good", 0.25, 10)
    assert made["provenance"]["artifact_hash"] == made["artifact_hash"]
    assert own.get(f"/api/findings/{made['slug']}").json() == made


def test_a_finding_opens_when_its_decomposition_and_its_weights_are_gone(
    own: TestClient, home: Path, open_app: Open
) -> None:
    made = own.post("/api/findings", json=asked()).json()
    (home / "artifacts/tiny").rename(home / "elsewhere")
    later = open_app(home)
    assert later.get(f"/api/findings/{made['slug']}").json() == made
    answer = later.post(f"/api/findings/{made['slug']}/replay")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_decomposition")
    assert "stored numbers stay" in answer.json()["message"]


def test_findings_cannot_be_changed_or_removed_over_the_api(own: TestClient) -> None:
    slug = own.post("/api/findings", json=asked()).json()["slug"]
    for method in ("PUT", "PATCH", "DELETE"):
        assert own.request(method, f"/api/findings/{slug}", json=asked()).status_code in (404, 405)


def test_the_same_request_twice_gives_two_links_nobody_can_guess(own: TestClient) -> None:
    slugs = {own.post("/api/findings", json=asked()).json()["slug"] for _ in range(3)}
    assert len(slugs) == 3


@pytest.mark.parametrize(
    ("notes", "kept", "gone"),
    [
        ("**bold** and `code`", ["<strong>bold</strong>", "<code>code</code>"], []),
        ("<script>alert(1)</script>", ["&lt;script&gt;"], ["<script"]),
        ("<img src=x onerror=alert(1)>", ["&lt;img"], ["<img"]),
        ("[go](javascript:alert(1))", [], ["href"]),
        ("[go](https://example.org)", ['href="https://example.org"', "nofollow"], []),
        ("![x](https://example.org/x.png)", [], ["<img"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["<table>", "<td>1</td>"], []),
    ],
)
def test_notes_are_markdown_and_never_html(
    own: TestClient, notes: str, kept: list[str], gone: list[str]
) -> None:
    made = own.post("/api/findings", json=asked(notes=notes)).json()
    assert made["notes"] == notes
    for piece in kept:
        assert piece in made["notes_html"]
    for piece in gone:
        assert piece not in made["notes_html"]


def test_a_finding_refuses_what_its_ablations_refuse_and_keeps_nothing(own: TestClient) -> None:
    bad = asked(ablations=[{"text": WOODS, "components": [{"key": f"{SITES[0]}:99"}]}])
    assert own.post("/api/findings", json=bad).json()["code"] == "unknown_component"
    assert own.post("/api/findings", json=asked(focus=[99])).json()["code"] == "position_out_of_range"
    assert own.post("/api/findings", json=asked(title="")).json()["code"] == "invalid_request"
    assert own.get("/api/findings").json()["total"] == 0


def test_the_list_is_searched_filtered_and_paged(own: TestClient) -> None:
    for number in range(5):
        own.post("/api/findings", json=asked(title=f"number {number}"))
    page = own.get("/api/findings?limit=2").json()
    assert [item["title"] for item in page["items"]] == ["number 4", "number 3"]
    assert page["total"] == 5
    rest = own.get(f"/api/findings?limit=3&cursor={page['next_cursor']}").json()
    assert [item["title"] for item in rest["items"]] == ["number 2", "number 1", "number 0"]
    assert rest["next_cursor"] is None
    assert own.get("/api/findings?q=NUMBER 3").json()["total"] == 1
    assert own.get("/api/findings?decomposition=nope").json()["total"] == 0
    assert own.get("/api/findings?featured=true").json()["total"] == 0
    assert own.get("/api/findings?cursor=abc").json()["code"] == "invalid_cursor"


def test_a_replay_with_the_same_engine_is_the_same(own: TestClient) -> None:
    slug = own.post("/api/findings", json=asked()).json()["slug"]
    replay = own.post(f"/api/findings/{slug}/replay").json()
    assert (replay["verdict"], replay["max_probability_difference"]) == ("same", 0.0)
    assert len(replay["results"]) == 2


@pytest.mark.parametrize(("drift", "verdict"), [(1e-8, "same"), (1e-4, "close"), (0.1, "different")])
def test_a_replay_says_how_far_the_numbers_have_moved(
    home: Path, open_app: Open, drift: float, verdict: str
) -> None:
    class Drifting(FakeAblator):
        def ablate(self, query: AblationQuery) -> Any:
            (result,) = super().ablate(query)
            if self.versions["torch"] == "1":
                for place in result.positions:
                    for row in place.watched:
                        object.__setattr__(row.ablated, "probability", row.ablated.probability + drift)
            return [result]

    engine = Drifting()
    hand_artifact(home / "artifacts")
    client = open_app(home, loader=lambda *_: engine)
    wait_for_engine(client)
    slug = client.post("/api/findings", json=asked()).json()["slug"]
    engine.versions["torch"] = "1"
    replay = client.post(f"/api/findings/{slug}/replay").json()
    assert replay["verdict"] == verdict
    assert "torch 0 → 1" in replay["explanation"]


def test_featured_findings_are_seeded_once_and_follow_their_files(
    home: Path, open_app: Open, own: TestClient
) -> None:
    made = own.post("/api/findings", json=asked()).json()
    fields = FindingRecord.model_fields
    record = {name: made[name] for name in fields} | {"slug": "featured-one"}
    (home / "featured").mkdir()
    (home / "featured/one.json").write_text(json.dumps(record))
    (home / "featured/broken.json").write_text("{")
    for _ in range(2):
        listed = open_app(home).get("/api/findings?featured=true").json()
        assert [item["slug"] for item in listed["items"]] == ["featured-one"]
    client = open_app(home)
    assert client.get("/api/decompositions/tiny").json()["featured_findings"] == ["featured-one"]
    assert client.get("/api/findings").json()["items"][0]["slug"] == "featured-one"
    (home / "featured/one.json").unlink()
    after = open_app(home)
    assert after.get("/api/findings?featured=true").json()["total"] == 0
    assert after.get("/api/findings/featured-one").status_code == 200, "its link still opens"


def test_a_real_finding_replays_to_the_same_numbers(real_client: TestClient) -> None:
    row = real_client.get("/api/decompositions/tiny/components?sort=mean_ci&order=desc&limit=1").json()[
        "items"
    ][0]
    body = asked(ablations=[{"text": WOODS, "components": [{"key": row["key"]}], "watch": [" golf"]}])
    slug = real_client.post("/api/findings", json=body).json()["slug"]
    assert real_client.post(f"/api/findings/{slug}/replay").json()["verdict"] == "same"


def test_every_featured_finding_names_only_prompts_and_groups(own: TestClient) -> None:
    specs = read_specs(FEATURED / "specs.yaml")
    assert len({spec.slug for spec in specs}) == len(specs)
    services: Any = own.app.state.services  # type: ignore[attr-defined]
    entry = services.catalogue.get("tiny")
    spec = Spec(slug="x", decomposition="tiny", title="x", groups=["␣Woods"], prompts=[WOODS])
    assert [item.key for item in request(spec, entry).ablations[0].components] == entry.artifact.groups[
        0
    ].components
    key = entry.artifact.groups[0].components[0]
    by_effect = spec.model_copy(update={"groups": [], "components": [key]})
    assert [item.key for item in request(by_effect, entry).ablations[0].components] == [key]
    with pytest.raises(KeyError, match="Kobe"):
        request(spec.model_copy(update={"groups": ["␣Kobe"]}), entry)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.754, "75.4 %"),
        (0.0996, "10.0 %"),
        (0.0623, "6.2 %"),
        (0.01, "1.0 %"),
        (0.0012, "0.12 %"),
        (0.000012, "0.0012 %"),
        (3e-12, "< 0.001 %"),
        (0.99999, "> 99.9 %"),
        (1.0, "100.0 %"),
        (0.0, "0 %"),
    ],
)
def test_probabilities_are_in_percent_with_two_significant_digits(value: float, shown: str) -> None:
    assert sentences.probability(value) == shown


def test_an_embed_is_text_alone_that_any_site_may_frame_and_no_other_page_is(own: TestClient) -> None:
    slug = own.post("/api/findings", json=asked(claim="<script>alert(1)</script>")).json()["slug"]
    embed = own.get(f"/f/{slug}/embed")
    assert embed.status_code == 200
    assert "Wöods &amp; &lt;b&gt;golf&lt;/b&gt;" in embed.text
    assert "&lt;script&gt;alert(1)" in embed.text
    assert "<script" not in embed.text
    assert "␣golf" in embed.text
    assert f'href="/f/{slug}"' in embed.text
    policy = embed.headers["content-security-policy"]
    assert "frame-ancestors *" in policy
    assert "default-src 'none'" in policy
    assert "x-frame-options" not in embed.headers
    for path in ("/", f"/f/{slug}", f"/f/{slug}/embed/more", "/api/findings"):
        headers = own.get(path).headers
        assert headers["x-frame-options"] == "DENY", path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
    assert own.get("/f/nothing/embed").status_code == 404


def test_a_finding_is_a_file_of_numbers_of_record_and_of_words(own: TestClient) -> None:
    made = own.post("/api/findings", json=asked(title="=1+1 | *a*", notes="a **b**")).json()
    said, *lines = own.get(f"/api/findings/{made['slug']}.csv").text.splitlines()
    assert said.startswith("# decomposition=tiny")
    rows = list(csv.DictReader(lines))
    first = made["results"][0]["result"]["positions"][0]
    assert float(rows[0]["kl [nats]"]) == first["kl"]
    assert float(rows[0]["ablated_probability"]) == first["top"][0]["ablated"]["probability"]
    assert own.get(f"/api/findings/{made['slug']}.json").json()["results"] == made["results"]
    text = own.get(f"/api/findings/{made['slug']}.md").text
    assert text.startswith("# =1+1 \\| \\*a\\*\n")
    assert f"## ` {WOODS} `" in text
    assert "| ` ␣golf ` | 50.0 % | 25.0 % |" in text
    assert "a **b**" in text
    listed = list(csv.DictReader(own.get("/api/findings.csv", params={"q": "=1+1"}).text.splitlines()[1:]))
    assert [row["title"] for row in listed] == ["'=1+1 | *a*"], "a spreadsheet shows it, and runs nothing"
    assert own.get("/api/findings.json", params={"q": "=1+1"}).json()["rows"][0]["slug"] == made["slug"]


def test_a_collection_keeps_findings_in_order_under_its_own_link(own: TestClient) -> None:
    slugs = [own.post("/api/findings", json=asked(title=title)).json()["slug"] for title in ("one", "two")]
    body = {"title": "Athletes", "description": "<i>both</i>", "findings": [slugs[1], slugs[0], slugs[1]]}
    made = own.post("/api/collections", json=body)
    assert made.status_code == 201
    found = own.get(f"/api/collections/{made.json()['slug']}").json()
    assert found == made.json()
    assert [finding["title"] for finding in found["findings"]] == ["two", "one"]
    assert (found["url"], found["size"], found["missing"]) == (f"/collections/{found['slug']}", 2, [])
    assert own.get("/api/collections").json()["items"][0]["slug"] == found["slug"]


def test_a_collection_of_what_is_not_there_is_refused_by_name(own: TestClient) -> None:
    answer = own.post("/api/collections", json={"title": "x", "findings": ["nowhere"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_finding")
    assert "“nowhere”" in answer.json()["message"]
    assert own.get("/api/collections/none").json()["code"] == "unknown_collection"
    many = own.post("/api/collections", json={"title": "x", "findings": ["a"] * 201})
    assert many.status_code == 422
