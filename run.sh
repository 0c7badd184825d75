#!/usr/bin/env bash
# From nothing to a chat model: one stage a line, one script a stage.
#
#     bash run.sh            set-up, then the whole speedrun; ends with a report and how to chat
#     bash run.sh test       set-up, then every test but the slow ones (test-all: those too)
#     bash run.sh setup      set-up alone: .venv with what the rest needs
#     bash run.sh chat       talk to the model in the terminal
#     bash run.sh serve      talk to it in the browser, http://127.0.0.1:8000
#     bash run.sh export     the model in Hugging Face's form, for transformers, vLLM, llama.cpp: out/$DATA/hf
#     bash run.sh diff gpt/model.py      one of our files beside the reference that its lesson names
#     bash run.sh progress   the syllabus as a checklist that ticks itself
#     bash run.sh clean      start over: removes out/ and .venv/
#
#     DATA=tinystories bash run.sh     the same on real text (downloads, or DATA_MIRROR=folder)
#     SIZE=mini bash run.sh            the same in about a minute, to see that it runs
#
# A stage that is done from the same inputs, arguments and sources is skipped; a killed run continues.

set -eo pipefail   # no -u: the bash of macOS takes an empty array for an unset one
cd "$(dirname "${BASH_SOURCE[0]}")"
export DATA=${DATA:-tinyworld} SIZE=${SIZE:-full} OUT=${OUT:-out} PYTHONUNBUFFERED=1
run=$OUT/$DATA

die() { echo "$*" >&2; exit 1; }

# ---------------------------------------------------------------------------- set-up

torch_index=https://download.pytorch.org/whl/cpu    # PyTorch's own; its CPU builds are a tenth of the CUDA ones

setup() {  # setup FILE...: .venv with what the requirement files name; what is there already is left alone
    local file missing=() python=${PYTHON:-python3}
    for file in "$@"; do cmp -s "$file" ".venv/$file" || missing+=(-r "$file"); done
    [ ${#missing[@]} = 0 ] && return
    command -v "$python" > /dev/null || die "no $python. Install Python 3.10 or later."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$("$python" --version) is too old. Install Python 3.10 or later, or name one: PYTHON=python3.12 bash run.sh"
    echo "== setup: .venv with ${missing[*]}"
    [ -x .venv/bin/python ] || "$python" -m venv .venv || die "venv failed. On Debian: apt-get install python3-venv"
    if ! command -v nvidia-smi > /dev/null && [ "$(uname)" = Linux ] &&
        python -c "import urllib.request as u; u.urlopen('$torch_index/torch/', timeout=5)" 2> /dev/null; then
        .venv/bin/pip install -q "$(grep '^torch==' requirements.txt)" --index-url "$torch_index"
    fi
    .venv/bin/pip install -q "${missing[@]}" || die "pip could not install them all. Mend what it names, then run this again."
    cp "$@" .venv/
}

python() { .venv/bin/python "$@"; }
one_thread() { OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$@"; }   # tests start many processes at once

# ---------------------------------------------------------------------------- stages

stage() {  # stage NAME INPUTS... -- python SCRIPT ARGS: see train/stage.py
    local name=$1 inputs=()
    shift
    while [ "$1" != -- ]; do inputs+=("$run/$1"); shift; done
    shift 2
    python train/stage.py "$run/$name" ${inputs[@]+"${inputs[@]}"} -- .venv/bin/python "$@"
}

sizes() {  # what each size of a run is made of
    case $DATA-$SIZE in
        tinyworld-full)   corpus="bpe/tinyworld.py";                    vocab=2048 ;;
        tinyworld-mini)   corpus="bpe/tinyworld.py --megabytes 0.3";    vocab=1024 ;;
        tinystories-full) corpus="bpe/realworld.py";                    vocab=2048 ;;
        tinystories-mini) corpus="bpe/realworld.py --limit 300";        vocab=1024 ;;
        *) die "no DATA=$DATA with SIZE=$SIZE. DATA is tinyworld or tinystories, SIZE full or mini." ;;
    esac
    items=() canaries=() pretrain=() sft=() primer=() lesson=()
    [ "$DATA" = tinyworld ] && primer=(--primer "$run/corpus/primer_train.jsonl")
    if [ "$SIZE" = mini ]; then
        items=(--limit 20) canaries=(--canaries 30) lesson=(--limit 30)
        pretrain=(--tokens 60000 --layers 2 --width 64 --heads 2 --kv-heads 2 --hidden 128 --batch 8 --save-every 10)
        sft=(--tokens 30000 --batch 8 --save-every 5)
    elif [ "$DATA" = tinystories ]; then
        pretrain=(--tokens 2800000 --width 192 --hidden 512 --patience 8 --eval-every 50 --dropout 0.15 --weight-decay 0.1)
    else
        sft=(--tokens 2500000 --length 256)   # its longest dialogues but one in 300 fit; shorter rows are faster
    fi
}

speedrun() {
    sizes
    local c=$run/corpus t=$run/tokenizer
    stage corpus -- python $corpus --out "$c"
    stage tokenizer corpus -- python bpe/train.py --data "$c/pretrain_train.jsonl" --vocab $vocab --out "$t"
    stage shards corpus tokenizer -- python bpe/shards.py --train "$c/pretrain_train.jsonl" \
        --valid "$c/pretrain_valid.jsonl" "${primer[@]}" --tokenizer "$t" --out "$run/shards"
    stage pretrain shards tokenizer -- python train/train.py --data "$run/shards" --tokenizer "$t" \
        --out "$run/pretrain" "${pretrain[@]}"
    stage sft pretrain corpus -- python align/sft.py --checkpoint "$run/pretrain/run" --data "$c" \
        --out "$run/sft" "${sft[@]}" "${canaries[@]}"
    echo sft/run > "$run/model"
    evaluate
    [ "$DATA" != tinyworld ] || stage lesson sft corpus -- python continual/live.py --teach continual/lessons/first.txt \
        --checkpoint "$run/sft/run" --data "$c" --out "$run/live" --metrics "$run/lesson" --renew "${lesson[@]}"
    stage report $(cd "$run" && ls -d eval_* lesson 2> /dev/null) sft -- python eval/report.py --run "$run" --out "$OUT"
    echo "Talk to it:  bash run.sh chat   or   bash run.sh serve"
}

evaluate() {  # measure NAME SCRIPT ARGS: a stage that measures the chat model
    measure() { stage "$1" sft -- python "$2" --checkpoint "$run/sft/run" --out "$run/$1" "${items[@]}" "${@:3}"; }
    local real=${DATA_MIRROR:-${DATA_DIR:-data}}/gsm8k/test.jsonl
    if [ "$DATA" = tinyworld ]; then
        measure eval_arithmetic eval/gsm8k.py --data "$c"
        measure eval_science eval/choice.py --data "$c"
        stage eval_fiction pretrain -- python eval/perplexity.py --checkpoint "$run/pretrain/run" \
            --data "$c" --out "$run/eval_fiction" "${items[@]}"
    fi
    if [ "$DATA" = tinystories ]; then
        stage ngram corpus -- python makemore/ngram.py --train "$c/fiction_train.jsonl" --valid "$c/fiction_valid.jsonl" \
            --test "$c/fiction_test.jsonl" --out "$run/ngram"
        stage eval_fiction pretrain ngram -- python eval/perplexity.py --checkpoint "$run/pretrain/run" --data "$c" \
            --ngram "$run/ngram/metrics.json" --out "$run/eval_fiction"   # all of them: the n-gram has scored all
    fi
    if [ -e "$real" ]; then   # the real test needs a download or a mirror; without one its score is null
        measure eval_gsm8k eval/gsm8k.py --data "$real" --limit 200 --name gsm8k_first200
    fi
}

main() {
    case ${1:-speedrun} in
        speedrun) setup requirements.txt requirements-extra.txt; speedrun ;;
        setup)    setup requirements.txt requirements-extra.txt ;;
        test)     shift; setup requirements.txt requirements-extra.txt requirements-test.txt; one_thread python -m pytest -m "not slow" "$@" ;;
        test-all) shift; setup requirements.txt requirements-extra.txt requirements-test.txt; one_thread python -m pytest "$@" ;;
        chat)     shift; setup requirements.txt requirements-extra.txt; python chat/cli.py --checkpoint "$run/model" "$@" ;;
        serve)    shift; setup requirements.txt requirements-extra.txt; python chat/server.py --checkpoint "$run/model" "$@" ;;
        export)   setup requirements.txt requirements-extra.txt; python gpt/hf.py --checkpoint "$run/model" --out "$run/hf" ;;
        diff)     shift; setup requirements.txt requirements-extra.txt; python eval/diff.py "$@" ;;
        progress) setup requirements.txt requirements-extra.txt; python eval/progress.py --out "$OUT" ;;
        clean)    rm -rf out .venv; echo "removed out/ and .venv/" ;;
        *)        sed -n '3,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
    esac
}

main "$@"; exit   # in one line: bash has read it all before it starts, so this file may be edited meanwhile
