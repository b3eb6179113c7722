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


def test_a_kl_budget_concerns_only_what_keeps_one(tmp_path):
    both = [("sfpo", {}), ("sfpo", {"alpha": "auto"})]
    budgets = {"kl_budget": ["0.01", "0.03"]}
    assert [variant.name for variant in make_variants(both, budgets)] == [
        "sfpo",
        "sfpo,kl_budget=0.01,alpha=auto",
        "sfpo,kl_budget=0.03,alpha=auto",
    ]
    (tmp_path / "auto.yaml").write_text("alpha: auto")
    for common in (["--alpha", "auto"], ["--config", str(tmp_path / "auto.yaml")]):
        names = [variant.name for variant in make_variants([("grpo", {}), ("sfpo", {})], budgets, common)]
        assert names == ["grpo", "sfpo,kl_budget=0.01", "sfpo,kl_budget=0.03"]
    fixed, auto = make_variants(both, {})
    common = ["--kl_budget", "0.01"]
    assert fixed.arguments_with(common) == ["--method", "sfpo"]
    assert auto.arguments_with(common) == [*common, "--method", "sfpo", "--alpha", "auto"]
    # What one method is given by name is for the run to refuse.
    (named,) = make_variants([("sfpo", {"kl_budget": "0.01"})], {})
    assert named.settings == {"kl_budget": "0.01"}
