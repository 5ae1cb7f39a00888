"""The stage `explore`, beyond what a run of the whole pipeline shows."""

import numpy as np
import pandas as pd


def test_the_spaces_are_measured_on_a_sample_of_the_size_that_params_yaml_says(checked_out):
    checked_out.set_params({"explore.sample_size": 50})
    checked_out.run("dvc", "repro", "explore")
    found = pd.read_csv(checked_out.folder / "reports/explore/purity.csv")["neighbor_purity"]
    # The ten neighbors of each of 50 images.
    np.testing.assert_allclose(found * 500, (found * 500).round(), atol=1e-6)
