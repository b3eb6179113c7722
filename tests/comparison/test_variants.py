from sfpo.comparison.variants import make_variants


def test_a_method_is_not_repeated_for_values_that_change_nothing_in_it():
    variants = make_variants(
        [("sfpo", {}), ("multi_epoch", {}), ("grpo", {})], {"inner_steps": ["1", "3"], "alpha": ["0.4", "0.8"]}
    )
    assert [variant.name for variant in variants] == [
        "grpo",
        "sfpo,inner_steps=1,alpha=0.4",
        "sfpo,inner_steps=1,alpha=0.8",
        "sfpo,inner_steps=3,alpha=0.4",
        "sfpo,inner_steps=3,alpha=0.8",
        "multi_epoch,inner_steps=1",
        "multi_epoch,inner_steps=3",
    ]
    assert {variant.baseline for variant in variants} == {"grpo"}
    assert variants[2].arguments_with([]) == ["--method", "sfpo", "--inner_steps", "1", "--alpha", "0.8"]


def test_options_for_all_runs_reach_those_that_have_a_use_for_them(tmp_path):
    grpo, sfpo = make_variants([("grpo", {}), ("sfpo", {})], {})
    common = ["stray", "--alpha", "0.5", "--max_steps", "4", "--inner_steps=5"]
    assert grpo.arguments_with(common) == ["stray", "--max_steps", "4", "--method", "grpo"]
    assert sfpo.arguments_with(common) == [*common, "--method", "sfpo"]
    (tmp_path / "all.yaml").write_text("alpha: 0.5")
    (tmp_path / "sfpo.yaml").write_text("method: sfpo\nalpha: 0.5")
    for name, restated in (("all.yaml", ["--alpha", "0.0"]), ("sfpo.yaml", [])):
        common = ["--config", str(tmp_path / name)]
        assert grpo.arguments_with(common) == [*common, "--method", "grpo", *restated]
        assert sfpo.arguments_with(common) == [*common, "--method", "sfpo"]


def test_a_learning_rate_is_compared_with_grpo_at_the_same_learning_rate():
    variants = {v.name: v for v in make_variants([("grpo", {}), ("sfpo", {})], {"learning_rate": ["1e-5", "1e-4"]})}
    assert variants["sfpo,learning_rate=1e-4"].baseline == "grpo,learning_rate=1e-4"
    assert variants["grpo,learning_rate=1e-4"].baseline == "grpo,learning_rate=1e-4"


def test_methods_with_settings_of_their_own_are_compared_with_the_one_grpo():
    own = [("grpo", {"learning_rate": "3e-4"}), ("sfpo", {"learning_rate": "1e-4"})]
    variants = {v.name: v for v in make_variants(own, {"temperature": ["0.8", "1"]})}
    assert variants["sfpo,temperature=1,learning_rate=1e-4"].baseline == "grpo,temperature=1,learning_rate=3e-4"
