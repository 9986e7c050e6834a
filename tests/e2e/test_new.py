"""A researcher with a local Llama folder and six prompts, from `/new` to a suppressed component; what goes wrong on the
way; and the end of a decomposition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import NewTab, Server, live, serving, settled, suppressed
from tests.e2e.local_model import FACTS, save_local_llama
from tests.e2e.test_pages import axe, in_theme
from workers.spd.config.recipes import recipe

LINES = "\n".join(f"{prompt} =>{answer}" for prompt, answer in FACTS.items())


@pytest.fixture(scope="module")
def lab(pages_built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose home holds a model of one's own, and one elsewhere that it may not read."""
    root = tmp_path_factory.mktemp("lab")
    save_local_llama(root / "home" / "models" / "tiny-llama")
    (root / "elsewhere").mkdir()
    with serving(root / "home", PIP_NO_INDEX="1", HF_HUB_OFFLINE="1") as server:
        yield server


def step(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=re.compile(name))


def choose_model(page: Page) -> None:
    page.get_by_role("radio", name=re.compile("tiny-llama")).check()
    expect(page.get_by_label("About the model")).to_contain_text("LlamaForCausalLM", timeout=180_000)


def add(page: Page, text: str) -> None:
    page.get_by_label("Prompts", exact=True).fill(text)
    page.get_by_role("button", name="Add", exact=True).click()


def test_from_a_folder_and_six_prompts_to_a_suppressed_component(lab: Server, new_tab: NewTab) -> None:
    page = new_tab(lab).page
    page.goto("/")
    page.get_by_role("link", name="Decompose a model of your own").click()
    choose_model(page)
    about = page.get_by_label("About the model")
    for said in ("2 layers of width 32", "BPE", "mit", "it fits"):
        expect(about).to_contain_text(said)
    expect(page.get_by_label("The same as patterns")).to_have_value("model.layers.*.mlp.down_proj")

    add(page, LINES)
    expect(page.get_by_text("It knows the answer")).to_have_count(6, timeout=180_000)
    page.get_by_label("Use of prompt 6").select_option("held_out")
    page.get_by_label("Use of prompt 5").select_option("bystander")
    page.get_by_role("radio", name=re.compile("Quick look")).check()
    page.get_by_label("Title").fill("My own Llama")
    review = step(page, "Review and start")
    expect(review.get_by_role("rowheader", name="model.layers.1.mlp.down_proj")).to_be_visible()
    expect(review.get_by_label("Before you start")).to_have_count(0)
    expect(page.get_by_label("Config as YAML")).to_have_value(
        re.compile(f"steps: {recipe('prompts', 'quick')['steps']}")
    )
    review.get_by_role("button", name="Estimate time and memory").click()
    expect(review.get_by_text(re.compile("^About"))).to_be_visible(timeout=300_000)

    review.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("link", name="Watch it").click()
    job = page.get_by_role("article", name="Job tiny-llama-mine")
    expect(job.get_by_text("done", exact=True)).to_be_visible(timeout=300_000)
    expect(job.get_by_text(re.compile("took .*, estimated "))).to_be_visible()
    job.get_by_text("Log", exact=True).click()
    expect(job.get_by_text(re.compile("published as tiny-llama-mine"))).to_be_visible()

    job.get_by_role("link", name="Open the result").click()
    expect(page.get_by_role("heading", name="My own Llama")).to_be_visible()
    page.get_by_role("link", name="Open the workbench").click()
    live(page)
    page.get_by_role("button", name=re.compile("^Put group ␣Woods into basket A")).first.click()
    page.get_by_role("button", name="Suppress", exact=True).click()
    suppressed(page, 1)
    settled(page)

    # The same config again, to be edited; then house is kept.
    page.goto("/jobs")
    page.get_by_role("link", name="Duplicate and edit tiny-llama-mine").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("tiny-llama-mine-mine", timeout=180_000)
    expect(page.get_by_label("Prompt 1", exact=True)).to_have_value(next(iter(FACTS)))

    page.goto("/d/tiny-llama-mine")
    page.get_by_role("button", name="Rename or archive").click()
    page.get_by_label("Title").fill("Renamed")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Renamed")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text(re.compile("It takes .* MB"))).to_be_visible()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name=re.compile("Take a transformer"))).to_be_visible()
    expect(page.get_by_role("article", name="Renamed")).to_have_count(0)


def test_what_is_wrong_is_said_where_it_is_wrong(lab: Server, new_tab: NewTab) -> None:
    page = new_tab(lab).page
    page.goto("/new")
    page.get_by_role("radio", name="Folder or GGUF").click()
    for path, said in [
        (str(Path(lab.home).parent / "elsewhere"), "UNWEAVE_JOB_FOLDERS"),
        (str(lab.home / "models" / "nothing"), "There is no model folder “nothing”"),
    ]:
        page.get_by_label("Path on the server").fill(path)
        page.get_by_role("button", name="Open", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text(said, timeout=180_000)
    page.get_by_role("radio", name="At hand").click()
    choose_model(page)

    patterns = page.get_by_label("The same as patterns")
    patterns.fill("lm_head")
    expect(step(page, "Sites").get_by_role("alert")).to_contain_text("It writes the logits")
    patterns.fill("model.layers.7.*")
    expect(step(page, "Sites").get_by_role("alert")).to_contain_text("matches nothing of this model")
    page.get_by_role("button", name="0 of 2 layers").last.click()
    page.get_by_role("checkbox", name="model.layers.1.mlp.down_proj").check()
    expect(patterns).to_have_value(re.compile(r"model\.layers\.1\.mlp\.down_proj"))
    patterns.fill("model.layers.1.mlp.down_proj")

    add(page, '{"text": "Tiger", "colour": "red"}')
    expect(step(page, "Data").get_by_role("alert")).to_contain_text("“colour” is not a field of a prompt")
    add(page, "Tiger Woods plays professional => zinedine")
    expect(page.get_by_text(re.compile("The answer is not one token of this model"))).to_be_visible()
    expect(page.get_by_text("1 prompt cannot be used; step 3 says why.")).to_be_visible()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    page.get_by_role("textbox", name="Answer of prompt 1").fill("golf")
    page.get_by_role("button", name=re.compile("Use “␣golf”")).click()
    expect(page.get_by_text("It knows the answer")).to_be_visible()

    yaml = page.get_by_label("Config as YAML")
    steps = f"steps: {recipe('prompts', 'good')['steps']}"
    expect(yaml).to_have_value(re.compile(steps))
    yaml.fill(yaml.input_value().replace(steps, "steps: 33"))
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("33 steps")).to_be_visible()
    yaml.fill("name: [")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("It is not YAML", exact=False)).to_be_visible()


def test_the_page_is_accessible_and_fits(lab: Server, new_tab: NewTab) -> None:
    page = new_tab(lab).page
    page.goto("/new")
    choose_model(page)
    add(page, LINES)
    expect(page.get_by_text("It knows the answer")).to_have_count(6, timeout=180_000)
    page.get_by_text("Every setting").click()
    settled(page)
    assert not axe(page)
    page.set_viewport_size({"width": 390, "height": 844})
    in_theme(page, "dark")
    assert not axe(page)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{wide} px wider than the window"
