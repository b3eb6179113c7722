"""For `reward.custom_reward_function`: a reward that a random model earns some of, and tells its completions apart by."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **others):
    return sum(character.isdigit() for character in solution_str) / max(len(solution_str), 1)
