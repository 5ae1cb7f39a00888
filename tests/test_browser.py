"""The report and MLflow's pages in a real browser, as a user opens them."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import chromium, troubles_of
from tests.project import MODELS, metrics, runs
from tests.servers import free_port, serving

# MLflow's pages take their time on a busy machine.
expect.set_options(timeout=60_000)


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.troubles = troubles_of(page)
        yield page


def test_the_report_opens_from_disk_and_has_the_numbers_of_dvc_and_mlflow(reproduced, page: Page):
    page.goto((reproduced.folder / "reports/index.html").as_uri())
    text = page.inner_text("body")
    from_dvc = json.loads(reproduced.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    for model, name in MODELS.items():
        values = metrics(reproduced)[model]
        assert from_dvc["reports/metrics.json"]["data"][model] == values
        (run,) = runs(reproduced)[name]
        for key, value in values.items():
            if key == "gate_passed":
                assert run.data.tags["gate"] == ("passed" if value else "missed")
            elif key == "val_loss_fitted":
                assert run.data.tags["calibration"].endswith("val_loss is that of the fit")
            else:
                assert run.data.metrics[key] == pytest.approx(value, rel=1e-6), key
        heading = page.locator(f"h2#{model}").inner_text()
        assert f"{100 * values['test_accuracy']:.2f} %" in heading
        before = [name for name in values if name.endswith("_uncalibrated")]
        assert len(before) == (3 if model == "random_forest" else 0)
        for key in ("test_loss", "test_brier", "test_ece", "test_f1", *before):
            assert f"{values[key]:.4f}" in text
        assert f"{100 * values['val_accuracy']:.2f} %" in text
        assert run.data.tags["dvc.model_md5"] in text
        assert run.data.tags["dvc.data_md5"] in text
    pictures = page.locator("img")
    assert pictures.count() >= 20
    # They are loaded as one comes to them.
    for number in range(pictures.count()):
        pictures.nth(number).scroll_into_view_if_needed()
        expect(pictures.nth(number)).to_have_js_property("complete", True)
        assert pictures.nth(number).evaluate("image => image.naturalWidth") > 100
    assert page.troubles == []


def test_the_report_fits_a_phone(reproduced, page: Page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto((reproduced.folder / "reports/index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.long
def test_on_paper_no_column_is_cut_off_and_nothing_is_folded(reproduced, page: Page):
    # A4 less margins of 1 cm, in CSS pixels.
    page.set_viewport_size({"width": 718, "height": 1000})
    page.emulate_media(media="print")
    page.goto((reproduced.folder / "reports/index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    for table in page.locator("table").all():
        expect(table).to_be_visible()
        assert table.bounding_box()["width"] <= 718


@pytest.mark.long
def test_mlflow_shows_the_runs_their_comparison_and_a_confusion_matrix(reproduced, page: Page):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # Without `mnist ui` too: MLflow finds the store where it stands. tests/commands/test_ui.py has the other.
    command = ("mlflow", "ui", "--port", str(port), "--workers", "1")
    with serving(reproduced, *command, url=url, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"):
        page.set_default_timeout(60_000)
        newest = {name: runs(reproduced)[name][0] for name in MODELS.values()}
        experiment = newest["cnn"].info.experiment_id

        page.goto(f"{url}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
        for key in ("confusion_matrix", "mistakes"):
            # Charts that are out of view are not drawn.
            page.get_by_placeholder("Search metric charts").fill(key)
            pictures = page.locator(f"img[src*='{key}']")
            expect(pictures).to_have_count(len(MODELS))
            assert pictures.first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100

        page.goto(f"{url}/#/experiments/{experiment}/runs?compareRunsMode=TABLE")
        for name in newest:
            expect(page.get_by_text(name, exact=True).first).to_be_visible()

        ids = json.dumps([run.info.run_id for run in newest.values()])
        page.goto(f"{url}/#/compare-runs?runs={ids}&experiments=[%22{experiment}%22]")
        expect(page.get_by_text("test_accuracy", exact=True).first).to_be_visible()
        shown = [float(number) for number in re.findall(r"0\.\d+", page.inner_text("body"))]
        for model in MODELS:
            # Rounded to three digits.
            accuracy = metrics(reproduced)[model]["test_accuracy"]
            assert min(abs(number - accuracy) for number in shown) < 0.00051, (model, shown)

        page.goto(f"{url}/#/experiments/{experiment}/runs?compareRunsMode=ARTIFACT")
        expect(page.get_by_role("combobox", name="predictions.json")).to_be_visible()
        expect(page.get_by_role("combobox", name="selected option: predicted")).to_be_visible()

        run = newest["cnn"].info.run_id
        page.goto(f"{url}/#/experiments/{experiment}/runs/{run}/artifacts/confusion_matrix.png")
        picture = page.locator("img[src*='confusion_matrix'], img[src^='blob:']").first
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 100
    assert [trouble for trouble in page.troubles if trouble.startswith("away")] == []


@pytest.mark.long
def test_mlflow_opens_on_the_runs_best_first_with_their_metrics(reproduced, page: Page):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with serving(reproduced, "mnist", "ui", "--no-browser", "--port", str(port), url=url) as server:
        page.set_default_timeout(60_000)
        table, charts, _ = re.findall(r"http\S+", server.stdout.read())
        # Columns that are out of view are not drawn.
        page.set_viewport_size({"width": 2200, "height": 1000})
        page.goto(table)
        for name in ("Dataset", "test_accuracy", "val_accuracy", "test_loss", "training_seconds", "runtime.device"):
            expect(page.locator(f".ag-header-cell[col-id*='{name}']")).to_be_visible()
        shown = page.locator(".ag-cell[col-id='metrics.`test_accuracy`']")
        expect(shown.first).to_have_text(re.compile(r"0\.\d+"))
        accuracies = [float(text) for text in shown.all_inner_texts() if text.strip()]
        assert accuracies == sorted(accuracies, reverse=True)
        assert max(accuracies) == pytest.approx(max(model["test_accuracy"] for model in metrics(reproduced).values()))
        expect(page.get_by_role("dialog")).to_have_count(0)

        page.goto(charts)
        section = page.get_by_text(re.compile("^Accuracy and loss"))
        expect(section).to_be_visible()
        others = page.get_by_text(re.compile("^Model metrics"))
        expect(others).to_be_visible()
        assert section.bounding_box()["y"] < others.bounding_box()["y"]
        expect(page.get_by_text("test_accuracy", exact=True).first).to_be_visible()

        # The forest of digits may grow in less time than a look at the machine takes.
        (run,) = runs(reproduced)["cnn"]
        page.goto(f"{url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/system-metrics")
        expect(page.get_by_text("cpu_utilization_percentage").first).to_be_visible()
    assert [trouble for trouble in page.troubles if trouble.startswith("away")] == []
