pytest_plugins = ["bedrock_batch_assets_tests.local_aws_fixture"]
