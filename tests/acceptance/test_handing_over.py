"""What ``enqueue`` and ``resume`` say about campaigns that workers run."""

from pathlib import Path


def test_a_login_that_workers_would_not_get_is_refused_and_not_repeated(folder, redis_server):
    done = folder.mailer(
        "enqueue",
        "campaign.toml",
        "--yes",
        "--backend",
        "smtp://someone:s3cret@127.0.0.1:2525?tls=none",
        MAILER_BROKER_URL=redis_server.url,
    )

    assert done.code == 2
    assert "[backends.main]" in done.err
    assert "--backend main" in done.err
    assert "s3cret" not in done.err + done.out


def test_a_person_accepts_a_restored_ledger_for_the_workers(folder, redis_server, smtp_sink):
    backend = f'[backends.main]\nurl = "{smtp_sink().url}"\n'
    folder.write("mailer.toml", f'broker = "{redis_server.url}"\n{backend}')
    enqueued = folder.mailer("enqueue", "campaign.toml", "--yes", "--json").json()
    copy = Path(folder.path, "mailer.db.epoch")
    copy.write_text(str(10**15))  # as if much had happened since the backup

    slug = enqueued["id"]
    paused = folder.mailer("pause", slug)
    resumed = folder.mailer("resume", slug, "--accept-epoch")

    assert paused.code == resumed.code == 0
    assert int(copy.read_text()) < 10**15
