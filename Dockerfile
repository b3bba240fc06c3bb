# One image for every part: the command decides what it is. See docker-compose.yml.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/mailer
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY mailer ./mailer
COPY tasks ./tasks
COPY templates ./templates
RUN pip install -c constraints.txt '.[all]'

# mailer.toml, templates and attachments are mounted here; nothing in the image can be written to.
RUN useradd --system --uid 10001 --home-dir /srv/mailer --create-home mailer
USER mailer
WORKDIR /srv/mailer

ENTRYPOINT ["mailer"]
CMD ["--help"]
