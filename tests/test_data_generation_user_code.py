"""Data generation with problems of a user's own folder: in worker processes, and their code's fingerprint."""

from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.data_gen import workers
from t2t_multimodel.data_gen.fingerprint import fingerprint
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.registry import problem as registered_problem


def content_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_problems_of_a_user_folder_work_in_worker_processes(user_folder, tmp_path):
    folder = user_folder(
        {
            "__init__.py": "from . import birds",
            "songs.py": "SONG = 'tirili tralala'",
            "birds.py": (
                "from t2t_multimodel.modalities import Text\n"
                "from t2t_multimodel.problem import Problem\n"
                "from t2t_multimodel.registry import register_problem\n"
                "from . import songs\n"
                "@register_problem\n"
                "class UserBirds(Problem):\n"
                "    inputs = targets = Text()\n"
                "    splits = ('train',)\n"
                "    def samples(self, split):\n"
                "        return ({'inputs': str(i), 'targets': 'x'} for i in range(1100))\n"
                "    def prepare(self, sample):\n"
                "        return {**sample, 'targets': songs.SONG + sample['inputs']}\n"
            ),
        }
    )
    load_user_code(folder)
    problems = [registered_problem("user_birds"), registered_problem("user_birds_rev")]
    assert all(workers.recipe_of(problem) for problem in problems)
    for count in (1, 2):
        generate(problems, tmp_path / str(count), workers=count, log=lambda line: None)
    assert content_of(tmp_path / "1") == content_of(tmp_path / "2")

    def digests():
        return fingerprint(problems[0], None, {})["code"]

    before = digests()
    assert sorted(before) == ["my_problems.birds", "my_problems.songs"]
    (folder / "songs.py").write_text('"""Songs."""\n\n# of birds\nSONG = "tirili tralala"\n')
    assert digests() == before  # words about the code are not code
    (folder / "songs.py").write_text("SONG = 'kikeriki'")
    assert digests() != before and digests()["my_problems.birds"] == before["my_problems.birds"]
