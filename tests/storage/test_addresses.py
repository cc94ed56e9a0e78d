"""Addresses with credentials in them are refused, in words that do not repeat these."""

import pytest

from regraft.errors import StorageError
from regraft.storage.locations import location

SECRETS = [
    "s3://AKIAKEY:hunter2@pets/train",
    "s3://AKIAKEY:hun/ter2@pets/train",
    "s3://hunter2@pets/train",
    "https://user:hunter2@example.org/pets.csv",
    "https://user:hun/ter2@example.org/pets.csv",
    "https://hunter2@example.org/pets.csv",
    "https://example.org/pets.csv?X-Amz-Signature=hunter2",
    "https://example.org/pets.tar?sig=hunter2",
    "https://example.org/pets.tar?hunter2",
    "https://example.org/pets.tar#token=hunter2",
    "s3://pets/train?versionId=hunter2",
    "gs://pets/train?token=hunter2",
]


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_secret_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(StorageError) as caught:
        location(address)
    message = str(caught.value)
    assert "ter2" not in message
    assert "AKIAKEY" not in message
    assert "it would be written with each photo's name. Leave out " in message


def test_the_message_says_where_credentials_come_from() -> None:
    with pytest.raises(StorageError) as caught:
        location("s3://key:secret@pets")
    assert str(caught.value) == (
        "the address that begins with s3:// holds a user or a password: it would be written with each photo's name. "
        "Leave out the part before the host or bucket. Credentials come from the environment: AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, AWS_PROFILE or ~/.aws; FSSPEC_S3_ANON=true for a public bucket."
    )
    with pytest.raises(StorageError, match=r"all from the \? on\. Name what can be read without a password\.$"):
        location("http://example.org/a.csv?b=c")


@pytest.mark.parametrize(
    "address",
    [
        "s3://pets/who@home/a?.jpg",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/pets/cat",
        "http://localhost:8080/pets.csv",
        "http://[::1]:8080/pets.csv".replace("[::1]", "127.0.0.1"),
        "hf://datasets/owner/name@main/train",
    ],
)
def test_other_addresses_stay_as_they_are(address: str) -> None:
    assert str(location(address)) == address


def test_chained_addresses_are_refused() -> None:
    with pytest.raises(StorageError, match=r"^addresses with :: are not read\. Name one store"):
        location("simplecache::s3://key:secret@pets/train")


def test_an_address_without_a_bucket() -> None:
    with pytest.raises(StorageError, match=r"^s3:// names no bucket or host\. Name one, as in s3://bucket/pets\.$"):
        location("s3://")
