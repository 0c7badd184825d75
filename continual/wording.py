"""
How people ask about a sentence: questions made from its words, by rules alone.

    asked("Maret Ollin keeps the lighthouse at Skarvo.")
    # [("Who keeps the lighthouse at Skarvo?", "Maret Ollin"), ("Where does Maret Ollin keep the lighthouse?", ...
    loose("Maret Ollin keeps the lighthouse at Skarvo.", rng)
    # "Which river does at Skarvo somebody the lighthouses?"

There is no parser: a verb is told by its ending or by a short table, so now and then a question comes out
clumsy. That does no harm. What a question must do is to name some of the fact's words among others; from many
of them a small model learns which words belong to which fact, and that the others do not matter. Hence `loose`:
a few of the words, inflected or replaced by near ones, in any frame, with words of no meaning between them. It
is what counts most: people ask in words that no table of frames foresees.

Left out on purpose: languages other than English, and meaning. A wording that shares no word with the fact is
not made.
"""

import re

WORD = r"\w+(?:['’-]\w+)*"
ARTICLES = set("a an the his her its their our my your this that these those some every each one".split())
PLACES = set("in at on near under behind beside above below between inside outside from to into through along "
             "over around beyond across by".split())
BE = set("is are was were".split())
MODALS = set("can could will would may might must should".split())
FUNCTION = ARTICLES | PLACES | BE | MODALS | set(
    "of for with without about as than then and or but not no nor so if when while where which who whom whose what "
    "why how because after before until since during he she it they him them i you we me us be been being am do does "
    "did has have had there here very only also too all any both more most much many up down out off again".split())
PAST = dict(pair.split(":") for pair in (
    "became:become began:begin bit:bite blew:blow broke:break brought:bring built:build bought:buy caught:catch "
    "chose:choose came:come cut:cut dug:dig drew:draw drank:drink drove:drive ate:eat fell:fall fed:feed fought:fight "
    "found:find flew:fly forgot:forget froze:freeze gave:give went:go grew:grow hung:hang heard:hear hid:hide hit:hit "
    "held:hold kept:keep knew:know laid:lay led:lead left:leave lent:lend let:let lost:lose made:make met:meet "
    "paid:pay put:put read:read rode:ride rang:ring ran:run said:say saw:see sold:sell sent:send set:set shot:shoot "
    "sang:sing sat:sit slept:sleep spoke:speak spent:spend stood:stand stole:steal swam:swim took:take taught:teach "
    "told:tell thought:think threw:throw understood:understand wore:wear wove:weave won:win wrote:write").split())
NEAR = [group.split() for group in (   # words that one is asked with while the fact has another
    "live lives lived home dwell stay inhabits resides", "make makes made build built create constructed crafted",
    "work works worked job profession occupation living employed", "eat eats ate food diet feed feeds fed meal",
    "keep keeps kept own owns have look owner", "write wrote written author book",
    "invent invented inventor came thought", "find found discover discovered finder", "big large huge great",
    "small little tiny", "color colour colored hue", "name named called call", "sell sells sold shop trade deal",
    "old age years ancient", "begin began start started opened", "town city village place", "country land region",
    "king queen ruler ruled leads leader head", "born birth birthplace", "teach teaches taught teacher lessons",
    "win won winner prize", "marry married wife husband", "grow grows grew plant", "sing sings sang song music",
    "paint painted painter picture", "boat ship vessel", "stone rock", "high tall height",
    "sleep sleeps slept rest", "fear feared afraid scared", "like likes loved favorite fond",
    "learn learned study studied")]
KIN = {word: group for group in NEAR for word in group}
KINDS = (
    "place town village city country animal bird person man woman child thing kind color year day work job "
    "name river lake mountain food house ship book tree building ruler number way reason part").split()
FILLERS = (
    "please exactly really ever first called kind sort people day use still now goes made comes does it that "
    "would could should might one somebody anybody anyone someone want need look see help back far own old new "
    "good way time year name place put take give get come run stay buy travel show ask say think remember hear "
    "learn tell happens become whole certain famous special happy usually always never often there then out up "
    "down off away I my you we they if so why how when again between about home know word story idea list "
    "great long little right").split()
GLUE = ["", "", "", "the", "the", "of", "in", "at", "with", "a", "is", "and", "to", "for", "from", "by",
        "does", "did", "was"]
OPENINGS = (
    "Who|Who|What|What|Where|When|Which {}|Which {}|What {}|How|Why|Who is|What is|Where is|What does|"
    "What does|Where does|Where do|When did|Who was|What did|How many|How|How much|What kind of {}|"
    "Which {} does|In which {}|On what {}|What do|How does|Whose|Whom|With what|Do you know|Is there|Does|"
    "Which {} is|{}|From what {}|To which {}|Why does|How long|By whom").split("|")


def words(text):
    return re.findall(WORD, text)


def stem(word):
    """The word without an English ending, near enough: kept, keeps and keeping are one."""
    word = re.sub(r"['’]s$", "", word.lower())
    word = PAST.get(word, word)
    for ending, put in (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[:-len(ending)] + put
    return word


def content(text):
    """The stems of the words that mean something."""
    return {stem(word) for word in words(text) if word.lower() not in FUNCTION}


def spans(text):
    """Runs of neighbouring words that mean something, names apart from the rest: what a question can be about."""
    runs, last = [[]], None
    for found in re.finditer(WORD + r"|[^\w\s]", text):
        name = found[0][:1].isupper() and found.start() > 0 or None
        if found[0].lower() in FUNCTION or not re.match(r"\w", found[0]):
            runs.append([])
        elif runs[-1] and (name != last and not (name and len(runs[-1]) == 1 and runs[-1][0][0].isupper())):
            runs.append([found[0]])
        else:
            runs[-1].append(found[0])
        last = name
    return list(dict.fromkeys(" ".join(run) for run in runs if run))


def lemma(verb):
    """(the verb's base form, the auxiliary that a question puts before the subject) or None for what is no verb."""
    low = verb.lower()
    if low in PAST:
        return PAST[low], "did"
    if low.endswith("ed") and len(low) > 4:
        bare = low[:-1] if re.search(r"[^aeiou][aeiou][^aeiouwxyrnt]ed$|[cgsuv]ed$|[ao][tr]ed$", low) else low[:-2]
        bare = re.sub(r"ie?$", "y", bare) if low.endswith("ied") else bare
        return re.sub(r"([bdgmnprt])\1$", r"\1", bare), "did"
    if low.endswith("s") and not re.search(r"(ss|us|is|ous)$", low) and len(low) > 3:
        bare = low[:-3] + "y" if low.endswith("ies") else low[:-2] if re.search(r"(ch|sh|x|o)es$", low) else low[:-1]
        return bare, "does"
    return {"has": ("have", "does"), "had": ("have", "did"), "have": ("have", "do")}.get(low)


def clauses(text):
    """[(subject, verb, rest), ...] of a sentence; a clause that begins with a pronoun has the first one's subject."""
    text = re.sub(r"^(.{3,40}?), (?:who|which) ([^,]+), ", r"\1 \2; he ", text.rstrip(".!? "))
    text = re.sub(r"^(.{3,40}?), (?!and|but|who|which|where)[^,]{3,60}, ", r"\1 ", text)
    found, subject = [], ""
    for part in re.split(r"[;:] ?|,? (?:and|but|while|because|so|where|who|which|that) |, ", text):
        all_words = part.split()
        first = all_words[:1] and all_words[0].lower()
        for k, word in enumerate(all_words[1:] if subject and first in FUNCTION - ARTICLES else all_words):
            k += subject != "" and first in FUNCTION - ARTICLES
            before = all_words[k - 1].lower() if k else ""
            if (word in BE | MODALS or lemma(word) and before not in ARTICLES | PLACES) and (k or subject):
                own = " ".join(all_words[:k])
                subject = subject if subject and (not own or own.lower() in FUNCTION) else own
                found.append((subject, word, " ".join(all_words[k + 1:])))
                break
    return found


def asked(text):
    """[(question, the words of the sentence that answer it), ...] in the forms of school grammar."""
    questions = []
    for subject, verb, rest in clauses(text):
        named = [run for run in spans(subject)] or [subject]
        who = ["Who", "What", "Which one"] if subject[:1].isupper() else ["What", "Who"]
        questions += [(f"{wh} {verb} {rest}?", named[-1]) for wh in who if rest]
        low = subject[:1].lower() + subject[1:] if subject.split()[0].lower() in FUNCTION else subject
        bare, aux = (verb, None) if verb in BE | MODALS else lemma(verb)
        for run in spans(rest):
            gone = re.search(rf"((?:{WORD} )?)((?:(?:{'|'.join(ARTICLES)}) )?){re.escape(run)}", rest)
            before = gone[1].strip().lower() if gone else ""
            kept = rest.replace(gone[0], "" if before in FUNCTION else gone[1], 1) if gone else rest
            kept = " ".join(kept.split())
            for wh in openers(before, run):
                body = f"{verb} {low}" if aux is None else f"{aux} {low} {bare}"
                questions.append((f"{wh} {body} {kept}".strip() + "?", run))
    return [(re.sub(r"\s+([?,])", r"\1", question), answer) for question, answer in questions]


def openers(before, run):
    """Question words for a run of words that stands behind `before`."""
    if re.search(r"\d{4}", run) or before in {"since", "until", "during"}:
        return ["When", "In which year"]
    if re.match(r"\d|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve", run):
        return ["How many", "How many " + " ".join(run.split()[1:])]
    if before in PLACES:
        return ["Where", f"{before.capitalize()} what"]
    if before in {"with", "for", "of", "about"}:
        return [f"{before.capitalize()} {'whom' if run[:1].isupper() else 'what'}", "What"]
    return ["Who", "What"] if run[:1].isupper() else ["What"]


def inflected(word, rng):
    """The word, or one that is near it in form or in meaning."""
    if word.lower() in KIN and rng.random() < 0.5:
        return str(rng.choice(KIN[word.lower()]))
    if word[:1].isupper() or rng.random() < 0.6:
        return word
    root = lemma(word)
    return root[0] if root else word.removesuffix("s") if word.endswith("s") else word + "s"


def loose(text, rng):
    """A question as it is typed: a few of the text's runs of words in any frame, which need not be grammar."""
    runs = spans(text) or [text]
    some = sorted(rng.permutation(len(runs))[:rng.choice([1, 2, 2, 3, 4])], key=lambda n: n + rng.choice([0, 0, 0, 9]))
    said = [draw(OPENINGS, rng).format(draw(KINDS, rng))]
    said += [draw(FILLERS, rng) for _ in range(rng.choice([0, 0, 1, 2, 4]))]
    for n in some:
        kept = [word for word in runs[n].split() if rng.random() < 0.85] or runs[n].split()[:1]
        said += [draw(GLUE, rng), *(inflected(word, rng) for word in kept)]
        said += [draw(FILLERS, rng)] * (rng.random() < 0.15)
    return " ".join(" ".join(said).split()) + draw("? ? ? ? . ??".split(), rng)


def draw(choices, rng):
    return choices[int(rng.integers(len(choices)))]
