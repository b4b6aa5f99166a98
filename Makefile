# Thin on purpose: scripts/bootstrap.py makes the machine ready and does the work.

PYTHON ?= python3
ARGS ?=

.PHONY: serve test lint format prepare bench soak clean

serve:  ## install what is missing, build, and serve on 127.0.0.1:8080
	@$(PYTHON) scripts/bootstrap.py serve $(ARGS)

test:  ## lint, then every test, against a real engine and a real Chromium
	@$(PYTHON) scripts/bootstrap.py test $(ARGS)

lint:  ## the checks alone
	@$(PYTHON) scripts/bootstrap.py lint

prepare:  ## everything `serve` needs, without serving
	@$(PYTHON) scripts/bootstrap.py prepare

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench:  ## every benchmark, peers side by side; ARGS="collab --traces FOLDER": shared documents
	@$(PYTHON) scripts/bootstrap.py bench $(ARGS)

soak:  ## every promise in full; takes hours
	@CLOUDIDE_SOAK=1 $(PYTHON) scripts/bootstrap.py test $(ARGS)

clean:  ## what was built here; data/ and the engine's images stay
	rm -rf .build .venv cloudide/web/dist frontend/node_modules
