"""What is said of attachments, on the wire and to people; nothing here touches a disk or the network."""
