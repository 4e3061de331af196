"""The fake models' text: short, plausible, the same for the same prompt, and about the prompt."""

import re
from typing import Literal

import msgspec

# English text has about four characters to a token (Anthropic's and Amazon's own rule of thumb).
CHARACTERS_PER_TOKEN = 4
# Only so many characters at each end of a long prompt are looked at, and fewer for what the answer is about.
_LOOKED_AT = 1500
_TOPICS_FROM = 300

_POSITIVE = re.compile(
    r"love[ds]?|great|excellent|amazing|wonderful|best|good|happy|perfect|enjoy\w*|fantastic|recommend\w*|"
    r"brilliant|delight\w*|superb|pleas\w+|fun|beautiful\w*"
)
_NEGATIVE = re.compile(
    r"hate[ds]?|terrible|awful|worst|bad|poor|disappoint\w*|boring|horrible|waste\w*|broken|sad|angry|annoy\w*|"
    r"refund\w*|slow|ugly|fail\w*|dull"
)
_WORDS = re.compile(r"\w+")
_SPACES = {code: " " for code in range(128) if not _WORDS.match(chr(code))}
_WORD = re.compile(r"[^\W\d_][\w'-]{3,}")
_JOKE_ABOUT = re.compile(r"joke about (.{1,60}?)(?: in (?:less|fewer|under|at most)|[.?!\n]|$)", re.IGNORECASE)
_COMMON = frozenset(
    """
    about also answer assistant been begin_of_text being between could describe does each end_header_id
    eot_id explain following from give have human input inst instructions into just less make more most must
    only other output over please prompt question response sentence short should some start_header_id
    step steps such system tell text than that their them then there these they think this those user
    using very were what when where which will with words would write your
    """.split()  # noqa: SIM905
)
_JOKES = (
    "Why did the {0} sit down? It had heard that a good joke about {0} needs time.",
    "I told my friend a joke about {0}. Now {0} is all we laugh about.",
    "What do you call {0} on a Monday? Late, like everybody else.",
    "How many people does it take to explain {0}? One, and a very patient audience.",
    "A friend of {0} walks into a bar. The barkeeper says: we were just talking about {1}.",
    "My doctor told me to avoid {0}. So I switched to {1}.",
    "Parallel lines and {0} have so much in common. It is a shame they will never meet.",
)
_OPENINGS = (
    "In short, it comes down to {0}.",
    "The main point here is {0}.",
    "This is mostly about {0}.",
    "It depends on {0}.",
)
_MIDDLES = (
    "First look at {1}, then at how it bears on {0}.",
    "With {1} given, {0} follows step by step.",
    "What is said about {1} supports this.",
    "{1} and {2} belong together here.",
)
_ENDINGS = (
    "So the answer is {2}.",
    "Taken together, that points to {2}.",
    "The rest, {2} included, is detail.",
    "That leaves {2} as the open point.",
)

End = Literal["end", "length", "stop_sequence"]


class Text(msgspec.Struct, frozen=True, gc=False):
    """A generated text, why it ended, and its token counts."""

    text: str
    end: End
    stop_sequence: str | None
    input_tokens: int
    output_tokens: int


def token_count(text: str) -> int:
    """About how many tokens a text has, at least one."""
    return max(1, -(-len(text) // CHARACTERS_PER_TOKEN))


def write(prompt: str, seed: int, max_tokens: int, stop: list[str] | None = None, truncate: bool = False) -> Text:
    """Answer a prompt with at most `max_tokens` tokens, ending before any of the `stop` sequences."""
    text = compose(prompt, seed)
    end: End = "end"
    found: str | None = None
    for sequence in stop or ():
        if sequence and (at := text.find(sequence)) >= 0:
            text, end, found = text[:at], "stop_sequence", sequence
    limit = max_tokens * CHARACTERS_PER_TOKEN
    if truncate:
        limit = min(limit, max(CHARACTERS_PER_TOKEN, len(text) // 2))
    if len(text) > limit:
        text, end, found = text[:limit].rstrip(), "length", None
    return Text(text, end, found, token_count(prompt), token_count(text))


def compose(prompt: str, seed: int) -> str:
    """The whole answer to a prompt: a sentiment, a joke, or a few sentences about its words."""
    seen = prompt if len(prompt) <= 2 * _LOOKED_AT else f"{prompt[:_LOOKED_AT]} {prompt[-_LOOKED_AT:]}"
    lowered = seen.lower()
    if "sentiment" in lowered or ("positive" in lowered and "negative" in lowered):
        return _sentiment(lowered)
    first, second, third = _topics(seen[-_TOPICS_FROM:])
    if "joke" in lowered:
        about = _JOKE_ABOUT.search(seen)
        return _JOKES[seed % len(_JOKES)].format(about[1].strip() if about else first, second)
    sentences = [_OPENINGS[seed % 4].format(first)]
    if seed & 16:
        sentences.append(_MIDDLES[(seed >> 5) % 4].format(first, second, third))
    sentences.append(_ENDINGS[(seed >> 7) % 4].format(first, second, third))
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _sentiment(lowered: str) -> str:
    # Splitting takes a fifth of the time of the expression, but only knows where ASCII words end.
    words = lowered.translate(_SPACES).split() if lowered.isascii() else _WORDS.findall(lowered)
    # An instruction that says "positive or negative" counts for neither: these words are in no list.
    mood = sum(map(_MOODS.__getitem__, words)) - lowered.count("never again")
    if len(_MOODS) > _MOST_MOODS:
        _MOODS.clear()
    return "positive" if mood > 0 else "negative" if mood < 0 else "neutral"


class _Moods(dict[str, int]):
    """1 for a word of praise, -1 for one of blame, else 0. Texts ask for the same few thousand words over and over."""

    def __missing__(self, word: str) -> int:
        mood = (_POSITIVE.fullmatch(word) is not None) - (_NEGATIVE.fullmatch(word) is not None)
        # Two threads may both do this: they come to the same.
        self[word] = mood
        return mood


_MOODS = _Moods()
_MOST_MOODS = 100_000


def _topics(text: str) -> tuple[str, str, str]:
    """Three words of the text, from its end, where templates put the row's own words."""
    words: list[str] = []
    for word in reversed(_WORD.findall(text)):
        lowered = word.lower()
        if lowered not in _COMMON and "joke" not in lowered and lowered not in words:
            words.append(lowered)
            if len(words) == 3:
                break
    words += ["the question", "the context", "what was asked"][len(words) :]
    return words[0], words[1], words[2]
