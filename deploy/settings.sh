# What setup.sh sets up. Change it, keep it in git: nothing in it is secret.

# The project and region of the pipeline, as in deploy/host.toml.
PROJECT=nba-props-platform
REGION=us-west2
# Where the datasets are; as warehouse.location in deploy/host.toml.
DATA_LOCATION=us-west2

# The datasets that checks read.
DATASETS="nba_raw nba_reference nba_analytics nba_predictions"

# The repository that deployments are held against. For a private one, put a token that can read it into the secret
# `pipeline-watch-git-token`: GIT_TOKEN_SECRET=pipeline-watch-git-token
REPOSITORY=https://github.com/example/nba-props-platform.git
GIT_TOKEN_SECRET=

# Each channel and the secret with its webhook.
CHANNELS="canary-alerts deployment-alerts"

# Where the record lives: what was found and what was sent. docs/google-cloud.md has the risks and costs of each.
#   disk       one machine with a disk runs every check on its schedule
#   bucket     three Cloud Run jobs copy it from a bucket and back: a start without a machine, in which it can be lost
#   database   several hosts share it in a Postgres database of Cloud SQL
RECORD=disk

# With RECORD=database: the instance, as PROJECT:REGION:INSTANCE; and how many hosts one Cloud Run service has. With 0 hosts there
# are three Cloud Run jobs instead.
CLOUD_SQL=
HOSTS=2

# Of the machine. It needs a way out of its network, to Slack and to the repository.
ZONE=$REGION-a
MACHINE=e2-small
SUBNET=default

# Names of what is made.
NAME=pipeline-watch
BUCKET=$PROJECT-pipeline-watch
# Where the sources wait for the build.
SOURCES=$BUCKET-build

# When each job runs: layer, cron, time zone. On a machine and in a service the checks have their own schedules (`host plan`).
LAYERS="drift|0 */2 * * *|America/New_York
canaries|*/30 * * * *|America/New_York
gate|30 6 * * *|America/New_York"
