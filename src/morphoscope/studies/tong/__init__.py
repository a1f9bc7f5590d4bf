"""`tong`: CS_ResNet50 on five classes from the Galaxy Zoo 2 votes."""
