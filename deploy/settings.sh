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

# Names of what is made.
NAME=pipeline-watch
BUCKET=$PROJECT-pipeline-watch
# Where the sources wait for the build.
SOURCES=$BUCKET-build

# When each layer runs: name, cron, time zone.
LAYERS="drift|0 */2 * * *|America/New_York
canaries|*/30 * * * *|America/New_York
gate|30 6 * * *|America/New_York"
