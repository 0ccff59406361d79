"""What is installed beside vLLM: nothing that vLLM brought changes, the rest is as it was tested."""

from components.generate.constrain import constrain


def test_what_is_here_stays_and_the_rest_is_as_tested() -> None:
    tested = ["# The versions that were tested together.", "numpy==2.4.6", "PyYAML==6.0.3", "rich==15.0.0"]
    here = {"numpy": "2.2.0", "torch": "2.13.0+cpu", "typing-extensions": "4.15.0"}
    assert constrain(tested, here) == [
        "numpy==2.2.0",
        "torch==2.13.0+cpu",
        "typing-extensions==4.15.0",
        "PyYAML==6.0.3",
        "rich==15.0.0",
    ]


def test_a_name_is_the_same_however_it_is_spelled() -> None:
    assert constrain(["typing_extensions==4.16.0", "ruamel.yaml==0.19.1"], {"Typing-Extensions": "4.15.0"}) == [
        "Typing-Extensions==4.15.0",
        "ruamel.yaml==0.19.1",
    ]
